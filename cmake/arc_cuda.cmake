# arc_cuda_module(NAME kernels/cuda USES base ...)
#
# Makes the library arc_<name> from this folder's *.cu. nvcc is called as a plain tool, one command a unit, so that any
# CMake works with any CUDA of 12.4 and newer. ARC_NVCC names the compiler, by default the one in PATH or in
# /usr/local/cuda.
find_program(ARC_NVCC nvcc HINTS /usr/local/cuda/bin REQUIRED)
get_filename_component(arc_cuda_root ${ARC_NVCC} DIRECTORY)
get_filename_component(arc_cuda_root ${arc_cuda_root} DIRECTORY)
find_path(ARC_CUDA_INCLUDE cuda_runtime.h HINTS ${arc_cuda_root}/include ${arc_cuda_root}/targets/x86_64-linux/include REQUIRED)
find_library(ARC_CUDART libcudart_static.a HINTS ${arc_cuda_root}/lib64 ${arc_cuda_root}/lib
             ${arc_cuda_root}/targets/x86_64-linux/lib REQUIRED)

# The CUDA runtime for host code: linked statically, it finds the driver at run time.
add_library(arc_cudart INTERFACE)
target_include_directories(arc_cudart SYSTEM INTERFACE ${ARC_CUDA_INCLUDE})
target_compile_definitions(arc_cudart INTERFACE ARC_CUDA=1)
target_link_libraries(arc_cudart INTERFACE ${ARC_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)

set(arc_nvcc_flags -std=c++20 --extended-lambda -O3 -lineinfo -Xcompiler -Wall,-fPIC)
foreach(arch ${ARC_CUDA_ARCHS})
  list(APPEND arc_nvcc_flags -gencode arch=compute_${arch},code=sm_${arch})
endforeach()
if(ARC_WERROR)
  list(APPEND arc_nvcc_flags -Werror all-warnings -Xcompiler -Werror)
endif()

# Objects of the *.cu files named; their paths go into the variable `out`. More include folders may follow.
function(arc_cuda_objects out units)
  set(includes -I${CMAKE_SOURCE_DIR}/src -I${CMAKE_SOURCE_DIR}/include)
  foreach(folder ${ARGN})
    list(APPEND includes -I${folder})
  endforeach()
  foreach(unit ${units})
    get_filename_component(name ${unit} NAME)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.o)
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${ARC_NVCC} ${arc_nvcc_flags} ${includes} -MD -MF ${object}.d -c ${unit} -o ${object}
      DEPENDS ${unit}
      DEPFILE ${object}.d
      COMMENT "Building CUDA object ${name}.o"
      VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set(${out} ${objects} PARENT_SCOPE)
endfunction()

function(arc_cuda_module)
  cmake_parse_arguments(ARG "" "NAME" "USES" ${ARGN})
  string(REPLACE "/" "_" id ${ARG_NAME})
  file(GLOB units CONFIGURE_DEPENDS *.cu */*.cu)
  arc_cuda_objects(objects "${units}")
  add_library(arc_${id} STATIC ${objects})
  set_target_properties(arc_${id} PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(arc_${id} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  set(uses "")
  foreach(dep ${ARG_USES})
    string(REPLACE "/" "_" dep_id ${dep})
    list(APPEND uses arc_${dep_id})
  endforeach()
  target_link_libraries(arc_${id} PUBLIC arc_flags ${uses} PRIVATE arc_cudart)
endfunction()
