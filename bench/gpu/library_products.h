// Products of NVIDIA's library, where the machine has it, beside Arc's own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace arc::bench {

class LibraryProducts {
 public:
  // Looks for libcublasLt; LD_LIBRARY_PATH counts.
  LibraryProducts();
  ~LibraryProducts();
  // Why there are none; empty: there are.
  const std::string& problem() const { return problem_; }

  // Seconds of a product of `n_tokens` random bf16 tokens with weights [out, in] of bf16, sums and results in f32: the
  // median of graphs that go through all of `weights`. Throws Error(resource).
  double seconds(std::span<const void* const> weights, int64_t out, int64_t in, int64_t n_tokens);

 private:
  struct Library;
  std::unique_ptr<Library> library_;
  std::string problem_;
};

}  // namespace arc::bench
