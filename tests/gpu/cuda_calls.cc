// What is declared here of CUPTI is what its manual documents (docs.nvidia.com/cupti, "Callback API"): there need be no
// header to build, and no library to run.
#include "gpu/cuda_calls.h"

#include <array>
#include <cstdint>
#include <dlfcn.h>

namespace arc::test {
namespace {

constexpr std::array<const char*, 4> kLibraries = {"libcupti.so.13", "libcupti.so.12", "libcupti.so",
                                                   "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so"};
constexpr int kDriver = 1, kRuntime = 2;  // domains

// The beginning of CUpti_CallbackData.
struct CallbackData {
  int site = 0;  // 0: the call begins
  const char* function = nullptr;
};

using Callback = void (*)(void* user, int domain, uint32_t call, const void* data);
using Subscribe = int (*)(void** subscriber, Callback, void* user);
using Unsubscribe = int (*)(void* subscriber);
using EnableDomain = int (*)(uint32_t enable, void* subscriber, int domain);

template <typename F>
F function(void* library, const char* name) {
  return reinterpret_cast<F>(dlsym(library, name));
}

}  // namespace

CudaCalls::CudaCalls() {
  for (const char* name : kLibraries) {
    if (library_ == nullptr) library_ = dlopen(name, RTLD_NOW);
  }
  if (library_ == nullptr) {
    problem_ = "this machine has no libcupti, or LD_LIBRARY_PATH does not name its folder";
    return;
  }
  const auto subscribe = function<Subscribe>(library_, "cuptiSubscribe");
  const auto enable = function<EnableDomain>(library_, "cuptiEnableDomain");
  if (subscribe == nullptr || enable == nullptr || subscribe(&subscriber_, note, this) != 0 ||
      enable(1, subscriber_, kDriver) != 0 || enable(1, subscriber_, kRuntime) != 0)
    problem_ = "CUPTI does not let this process watch calls";
}

// The library stays: CUPTI may hold on to threads and hooks of its own.
CudaCalls::~CudaCalls() {
  if (subscriber_ != nullptr) function<Unsubscribe>(library_, "cuptiUnsubscribe")(subscriber_);
}

void CudaCalls::note(void* self, int /*domain*/, uint32_t /*call*/, const void* data) {
  const auto& call = *static_cast<const CallbackData*>(data);
  if (call.site != 0) return;
  auto& calls = *static_cast<CudaCalls*>(self);
  const std::lock_guard lock(calls.mutex_);
  calls.names_.emplace_back(call.function);
}

std::vector<std::string> CudaCalls::names() const {
  const std::lock_guard lock(mutex_);
  return names_;
}

}  // namespace arc::test
