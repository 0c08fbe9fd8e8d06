// What is declared here of cuBLASLt is what its manual documents (docs.nvidia.com/cuda/cublas, "Using the cuBLASLt
// API"): there need be no header to build, and no library to run.
#include "gpu/library_products.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <vector>

#include "base/error.h"
#include "gpu/random_fill.h"

namespace arc::bench {
namespace {

constexpr int kReplays = 9;
constexpr size_t kWorkspaceBytes = 64 << 20;
constexpr std::array<const char*, 3> kLibraries = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};

// Values of the library's enumerations.
constexpr int kCompute32f = 68, kTransA = 3, kTranspose = 1, kWorkspace = 1;

struct Algo {
  std::array<uint64_t, 8> data{};
};
struct HeuristicResult {
  Algo algo;
  size_t workspace_bytes = 0;
  int state = 0;
  float waves = 0;
  std::array<int, 4> reserved{};
};

void must(bool ok, const char* what) {
  if (!ok) throw Error(ErrorCode::resource, std::string("cuBLASLt: ") + what);
}

// Device memory until the end of a block.
class Bytes {
 public:
  explicit Bytes(size_t n) { must(cudaMalloc(&data_, n) == cudaSuccess, "no memory"); }
  ~Bytes() { cudaFree(data_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
};

// Median seconds of a replay of what `launch` puts on a stream.
template <typename Launch>
double graph_seconds(const Launch& launch) {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaStreamCreate(&stream);
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  launch(stream);  // loads kernels
  cudaStreamSynchronize(stream);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  launch(stream);
  cudaStreamEndCapture(stream, &graph);
  must(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess, "no graph");
  std::array<float, kReplays> ms{};
  for (float& time : ms) {
    cudaEventRecord(begin, stream);
    cudaGraphLaunch(exec, stream);
    cudaEventRecord(end, stream);
    cudaEventSynchronize(end);
    cudaEventElapsedTime(&time, begin, end);
  }
  must(cudaGetLastError() == cudaSuccess, "the device failed");
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaStreamDestroy(stream);
  std::ranges::nth_element(ms, ms.begin() + kReplays / 2);
  return static_cast<double>(ms[kReplays / 2]) * 1e-3;
}

}  // namespace

struct LibraryProducts::Library {
  using Handle = void*;
  int (*create)(Handle*) = nullptr;
  int (*destroy)(Handle) = nullptr;
  int (*desc_create)(Handle*, int compute, int scale) = nullptr;
  int (*desc_destroy)(Handle) = nullptr;
  int (*desc_set)(Handle, int attribute, const void*, size_t) = nullptr;
  int (*layout_create)(Handle*, int type, uint64_t rows, uint64_t cols, int64_t ld) = nullptr;
  int (*layout_destroy)(Handle) = nullptr;
  int (*preference_create)(Handle*) = nullptr;
  int (*preference_destroy)(Handle) = nullptr;
  int (*preference_set)(Handle, int attribute, const void*, size_t) = nullptr;
  int (*heuristic)(Handle, Handle desc, Handle a, Handle b, Handle c, Handle d, Handle preference, int wanted,
                   HeuristicResult*, int* found) = nullptr;
  int (*matmul)(Handle, Handle desc, const void* alpha, const void* a, Handle a_layout, const void* b, Handle b_layout,
                const void* beta, const void* c, Handle c_layout, void* d, Handle d_layout, const Algo*,
                void* workspace, size_t workspace_bytes, cudaStream_t) = nullptr;
  Handle handle = nullptr;

  ~Library() {
    if (handle != nullptr) destroy(handle);
  }

  // Empty, or what is missing.
  std::string load(void* file) {
    std::string missing;
    const auto find = [&]<typename F>(F*& function, const char* name) {
      function = reinterpret_cast<F*>(dlsym(file, name));
      if (function == nullptr) missing = name;
    };
    find(create, "cublasLtCreate");
    find(destroy, "cublasLtDestroy");
    find(desc_create, "cublasLtMatmulDescCreate");
    find(desc_destroy, "cublasLtMatmulDescDestroy");
    find(desc_set, "cublasLtMatmulDescSetAttribute");
    find(layout_create, "cublasLtMatrixLayoutCreate");
    find(layout_destroy, "cublasLtMatrixLayoutDestroy");
    find(preference_create, "cublasLtMatmulPreferenceCreate");
    find(preference_destroy, "cublasLtMatmulPreferenceDestroy");
    find(preference_set, "cublasLtMatmulPreferenceSetAttribute");
    find(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    find(matmul, "cublasLtMatmul");
    return missing;
  }
};

LibraryProducts::LibraryProducts() {
  void* file = nullptr;
  for (const char* name : kLibraries) {
    if (file == nullptr) file = dlopen(name, RTLD_NOW);
  }
  if (file == nullptr) {
    problem_ = "this machine has no libcublasLt, or LD_LIBRARY_PATH does not name its folder";
    return;
  }
  library_ = std::make_unique<Library>();
  if (const std::string missing = library_->load(file); !missing.empty()) {
    problem_ = "libcublasLt has no " + missing;
  } else if (library_->create(&library_->handle) != 0) {
    problem_ = "cublasLtCreate failed";
  }
}

LibraryProducts::~LibraryProducts() = default;

// Its matrices are columns of columns: y^T [out, T] = W [out, in] x^T, with W as the transpose of [in, out].
double LibraryProducts::seconds(std::span<const void* const> weights, int64_t out, int64_t in, int64_t n_tokens) {
  const Library& lib = *library_;
  const Bytes x(static_cast<size_t>(n_tokens * in) * 2), y(static_cast<size_t>(n_tokens * out) * 4),
      workspace(kWorkspaceBytes);
  fill_random_bf16(x.data(), n_tokens * in, 1.0f, uint64_t{1} << 61);
  Library::Handle desc = nullptr, w_layout = nullptr, x_layout = nullptr, y_layout = nullptr, preference = nullptr;
  const auto o = static_cast<uint64_t>(out), i = static_cast<uint64_t>(in), t = static_cast<uint64_t>(n_tokens);
  must(lib.desc_create(&desc, kCompute32f, CUDA_R_32F) == 0 && lib.desc_set(desc, kTransA, &kTranspose, 4) == 0 &&
           lib.layout_create(&w_layout, CUDA_R_16BF, i, o, in) == 0 &&
           lib.layout_create(&x_layout, CUDA_R_16BF, i, t, in) == 0 &&
           lib.layout_create(&y_layout, CUDA_R_32F, o, t, out) == 0 && lib.preference_create(&preference) == 0 &&
           lib.preference_set(preference, kWorkspace, &kWorkspaceBytes, sizeof kWorkspaceBytes) == 0,
       "no description of the product");
  HeuristicResult best;
  int found = 0;
  must(lib.heuristic(lib.handle, desc, w_layout, x_layout, y_layout, y_layout, preference, 1, &best, &found) == 0 &&
           found == 1,
       "no algorithm");
  int error = 0;
  const double seconds = graph_seconds([&](cudaStream_t stream) {
    for (const void* w : weights) {
      const float alpha = 1.0f, beta = 0.0f;
      error |= lib.matmul(lib.handle, desc, &alpha, w, w_layout, x.data(), x_layout, &beta, y.data(), y_layout,
                          y.data(), y_layout, &best.algo, workspace.data(), kWorkspaceBytes, stream);
    }
  });
  must(error == 0, "a product failed");
  lib.preference_destroy(preference);
  for (Library::Handle layout : {w_layout, x_layout, y_layout}) lib.layout_destroy(layout);
  lib.desc_destroy(desc);
  return seconds / static_cast<double>(weights.size());
}

}  // namespace arc::bench
