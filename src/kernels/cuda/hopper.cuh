// Instructions of sm_90a by name: tiles copied by descriptor, products of a warpgroup.
// PTX ISA, sections "cp.async.bulk.tensor", "Asynchronous warpgroup level matrix instructions".
#pragma once

#include <cstdint>
#include <cuda.h>
#include <cuda_runtime.h>

#include "kernels/cuda/barrier.cuh"
#include "kernels/cuda/tensor_core.cuh"

namespace arc::cuda {

inline constexpr int kWarpgroup = 128;  // threads

// The driver's function that describes tiles; null: it has none.
inline auto tile_encoder() {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode kEncode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
    return error == cudaSuccess && found == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(function) : nullptr;
  }();
  return kEncode;
}

// Whether the current device runs what this header names.
inline bool is_hopper() {
  int device = 0, major = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  return major == 9 && tile_encoder() != nullptr;
}

// Lets the next kernel of the stream start now, where it was launched so that it may; that one then waits for the end
// of this one where it reads what this one writes. Devices before sm_90 start no kernel early.
__device__ __forceinline__ void next_may_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void await_kernel_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// ---- tiles of matrices; zeros beyond the matrix's edges, counted as bytes that came ----

__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<uint64_t>(&map)) : "memory");
}
__device__ __forceinline__ void copy_tile(void* to, const CUtensorMap& map, int32_t col, int32_t row,
                                          uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::
          "r"(shared_address(to)),
      "l"(reinterpret_cast<uint64_t>(&map)), "r"(col), "r"(row), "r"(shared_address(barrier))
      : "memory");
}
__device__ __forceinline__ void copy_tile(void* to, const CUtensorMap& map, int32_t col, int32_t part, int32_t row,
                                          uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
      "[%5];" ::"r"(shared_address(to)),
      "l"(reinterpret_cast<uint64_t>(&map)), "r"(col), "r"(part), "r"(row), "r"(shared_address(barrier))
      : "memory");
}

// Rows of bf16, `stride` apart.
struct Matrix {
  const void* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;
};

// Its tiles of `tile` rows and 64 columns, as tile_descriptor() has them. `promotion`: how much of a row the cache
// fetches at least.
inline CUtensorMap tiles(const Matrix& matrix, uint32_t tile, CUtensorMapL2promotion promotion) {
  CUtensorMap map;
  const cuuint64_t size[2] = {static_cast<cuuint64_t>(matrix.cols), static_cast<cuuint64_t>(matrix.rows)};
  const cuuint64_t row_bytes = static_cast<cuuint64_t>(matrix.stride) * 2;
  const cuuint32_t box[2] = {64, tile}, step[2] = {1, 1};
  tile_encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(matrix.data), size, &row_bytes, box, step,
                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, promotion,
                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return map;
}

// ---- blocks of a cluster: a place in shared memory as block `rank` has it ----

__device__ __forceinline__ uint32_t address_in_block(const void* p, int rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(p)), "r"(rank));
  return there;
}
// All threads of all blocks meet; barriers that were made before are seen by all.
__device__ __forceinline__ void cluster_meets() {
  asm volatile("barrier.cluster.arrive.relaxed; barrier.cluster.wait;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive_in_block(uint64_t* barrier, int rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address_in_block(barrier, rank)) : "memory");
}
// Stores 16 bytes there, which count as bytes that came.
__device__ __forceinline__ void store_in_block(float4* to, const float (&v)[4], uint64_t* barrier, int rank) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
                   address_in_block(to, rank)),
               "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]), "r"(address_in_block(barrier, rank))
               : "memory");
}

// ---- products of a warpgroup ----

// A tile of rows of 64 columns of 16 bits in shared memory, 128 bytes a row, its 16-byte pieces swapped as copies of
// CU_TENSOR_MAP_SWIZZLE_128B do: eight rows are 1024 bytes, at a multiple of which it starts. Column 16 i lies at
// + 2 i.
__device__ __forceinline__ uint64_t tile_descriptor(const void* tile) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kEightRows = uint64_t{1024 >> 4} << 32, kUnused = 1 << 16;
  return kSwizzle128 | kEightRows | kUnused | (shared_address(tile) & 0x3ffff) >> 4;
}

// Such tiles as the second operand when their rows are what is summed over: 16 rows from `tile` on, `columns_apart`
// bytes from each 64 columns to the next.
__device__ __forceinline__ uint64_t rows_descriptor(const void* tile, uint32_t columns_apart) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kEightRows = uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kEightRows | uint64_t{columns_apart >> 4} << 16 | (shared_address(tile) & 0x3ffff) >> 4;
}

// Columns of 16 numbers of 16 bits as the second operand: their first eight in 16 bytes, column behind column, and
// their last eight likewise `apart` bytes further on.
__device__ __forceinline__ uint64_t columns_descriptor(const void* columns, uint32_t apart) {
  constexpr uint64_t kEightColumns = uint64_t{128 >> 4} << 32;
  return kEightColumns | uint64_t{apart >> 4} << 16 | (shared_address(columns) & 0x3ffff) >> 4;
}

__device__ __forceinline__ void products_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_issued() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// All groups but the last kPending are done.
template <int kPending>
__device__ __forceinline__ void products_done() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Sums whose products are done: nothing that reads them moves in front of this.
template <int kN>
__device__ __forceinline__ void settled(float (&c)[kN][4]) {
#pragma unroll
  for (int n = 0; n < kN; ++n) asm volatile("" : "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])::"memory");
}

// Operands: c[j] to c[j + 7].
#define ARC_FOUR_SUMS(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define ARC_EIGHT_SUMS(j)                                                                                           \
  ARC_FOUR_SUMS(j), ARC_FOUR_SUMS((j) + 1), ARC_FOUR_SUMS((j) + 2), ARC_FOUR_SUMS((j) + 3), ARC_FOUR_SUMS((j) + 4), \
      ARC_FOUR_SUMS((j) + 5), ARC_FOUR_SUMS((j) + 6), ARC_FOUR_SUMS((j) + 7)

// c (+)= a b^T: [64, 16] times [128, 16] of bf16; the sum before counts if `add`. With lane = 4 g + q: warp w's c[j]
// holds rows 16 w + g, then 16 w + g + 8, of columns 8 j + 2 q, + 1.
__device__ __forceinline__ void multiply_add(float (&c)[16][4], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %66, 0; "
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, p, 1, 1, 0, 0; }"
      : ARC_EIGHT_SUMS(0), ARC_EIGHT_SUMS(8)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// c (+)= a b^T: [64, 16] times [256, 16] of bf16; the sum before counts if `add`. With lane = 4 g + q: warp w's c[j]
// holds rows 16 w + g, then 16 w + g + 8, of columns 8 j + 2 q, + 1.
__device__ __forceinline__ void multiply_add(float (&c)[32][4], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %130, 0; "
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, p, 1, 1, 0, 0; }"
      : ARC_EIGHT_SUMS(0), ARC_EIGHT_SUMS(8), ARC_EIGHT_SUMS(16), ARC_EIGHT_SUMS(24)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// What the second operand of the products below is: rows_descriptor()'s, or tile_descriptor()'s, a row of which is a
// column of b.
enum class Second { rows, tile };

// c += a b: [64, 16] from registers, as tensor_core.cuh has it for 16 rows of each warp, times [16, 32], [16, 64] or
// [16, 128].
template <Second kSecond = Second::rows>
__device__ __forceinline__ void multiply_add(float (&c)[4][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{ .reg .pred p; setp.eq.u32 p, 0, 0; "
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
      "{%16, %17, %18, %19}, %20, p, 1, 1, %21; }"
      : ARC_FOUR_SUMS(0), ARC_FOUR_SUMS(1), ARC_FOUR_SUMS(2), ARC_FOUR_SUMS(3)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kSecond == Second::rows));
}

template <Second kSecond = Second::rows>
__device__ __forceinline__ void multiply_add(float (&c)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{ .reg .pred p; setp.eq.u32 p, 0, 0; "
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, %37; }"
      : ARC_EIGHT_SUMS(0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kSecond == Second::rows));
}

template <Second kSecond = Second::rows>
__device__ __forceinline__ void multiply_add(float (&c)[16][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{ .reg .pred p; setp.eq.u32 p, 0, 0; "
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, p, 1, 1, %69; }"
      : ARC_EIGHT_SUMS(0), ARC_EIGHT_SUMS(8)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kSecond == Second::rows));
}

// c (+)= a b of f16: [64, 16] from registers, likewise, times [16, 32] or [16, 64] of columns_descriptor(); the sum
// before counts if `add`.
__device__ __forceinline__ void multiply_add_halves(float (&c)[4][4], const uint32_t (&a)[4], uint64_t b, bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %21, 0; "
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
      "{%16, %17, %18, %19}, %20, p, 1, 1, 0; }"
      : ARC_FOUR_SUMS(0), ARC_FOUR_SUMS(1), ARC_FOUR_SUMS(2), ARC_FOUR_SUMS(3)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}
__device__ __forceinline__ void multiply_add_halves(float (&c)[8][4], const uint32_t (&a)[4], uint64_t b, bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %37, 0; "
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, 0; }"
      : ARC_EIGHT_SUMS(0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

#undef ARC_FOUR_SUMS
#undef ARC_EIGHT_SUMS

}  // namespace arc::cuda
