// Every call of this process to CUDA, its runtime's and its driver's, as CUPTI sees them.
#pragma once

#include <mutex>
#include <string>
#include <vector>

namespace arc::test {

// Calls are noted while an object of this class lives; one at a time.
class CudaCalls {
 public:
  // Looks for libcupti, which comes with CUDA's toolkit; LD_LIBRARY_PATH counts.
  CudaCalls();
  ~CudaCalls();
  CudaCalls(const CudaCalls&) = delete;
  CudaCalls& operator=(const CudaCalls&) = delete;

  // Why nothing is noted; empty: it is.
  const std::string& problem() const { return problem_; }
  // Names of the calls so far, in order. A runtime's call is followed by the driver's calls that it makes.
  std::vector<std::string> names() const;

 private:
  static void note(void* self, int domain, uint32_t call, const void* data);

  std::string problem_;
  void *library_ = nullptr, *subscriber_ = nullptr;
  mutable std::mutex mutex_;
  std::vector<std::string> names_;
};

}  // namespace arc::test
