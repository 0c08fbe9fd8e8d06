#include "tensor/tensor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"
#include "tensor/device_memory.h"

namespace arc {
namespace {

constexpr size_t kAlignment = 64;
// Storage of this size and more takes no physical memory before it is written.
constexpr size_t kLazyBytes = size_t{1} << 20;

std::byte* allocate_zeros(size_t size_bytes) {
  void* data = std::aligned_alloc(kAlignment, size_bytes);
  if (data != nullptr) std::memset(data, 0, size_bytes);
  return static_cast<std::byte*>(data);
}

std::byte* map_zeros(size_t size_bytes) {
  void* data = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  ::madvise(data, size_bytes, MADV_HUGEPAGE);  // a wish: may fail
  return static_cast<std::byte*>(data);
}

}  // namespace

std::shared_ptr<Storage> Storage::allocate(size_t size_bytes, Device device) {
  std::shared_ptr<Storage> storage(new Storage);
  storage->device_ = device;
  const size_t padded = (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (padded < size_bytes) throw Error(ErrorCode::resource, fmt::format("cannot allocate {} bytes", size_bytes));
  storage->size_bytes_ = size_bytes;
  if (device.kind != Device::Kind::cpu) {
    storage->data_ = allocate_on(device, std::max(padded, kAlignment));
    return storage;
  }
  storage->data_ = size_bytes >= kLazyBytes ? map_zeros(size_bytes) : allocate_zeros(std::max(padded, kAlignment));
  if (storage->data_ == nullptr) {
    throw Error(ErrorCode::resource, fmt::format("out of memory: cannot allocate {} bytes", size_bytes));
  }
  return storage;
}

std::shared_ptr<Storage> Storage::map(std::shared_ptr<const MappedFile> file, size_t offset, size_t size_bytes) {
  ARC_CHECK(offset <= file->bytes().size() && size_bytes <= file->bytes().size() - offset);
  std::shared_ptr<Storage> storage(new Storage);
  storage->data_ = const_cast<std::byte*>(file->bytes().data()) + offset;
  storage->size_bytes_ = size_bytes;
  storage->file_ = std::move(file);
  return storage;
}

Storage::~Storage() {
  if (file_ != nullptr || data_ == nullptr) return;
  if (device_.kind != Device::Kind::cpu) {
    free_on(device_, data_);
  } else if (size_bytes_ >= kLazyBytes) {
    ::munmap(data_, size_bytes_);
  } else {
    std::free(data_);
  }
}

Tensor::Tensor(std::shared_ptr<Storage> storage, size_t offset_bytes, Shape shape, DType dtype)
    : storage_(std::move(storage)), offset_bytes_(offset_bytes), shape_(shape), dtype_(dtype) {
  ARC_CHECK(offset_bytes_ <= storage_->size_bytes() && size_bytes() <= storage_->size_bytes() - offset_bytes_)
      << shape_.to_string();
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  return Tensor(Storage::allocate(static_cast<size_t>(shape.numel()) * dtype_size(dtype), device), 0, shape, dtype);
}

TensorView Tensor::view() const {
  const int64_t cols = shape_.rank() == 0 ? 1 : shape_[shape_.rank() - 1];
  return {.data = data(), .dtype = dtype_, .rows = cols == 0 ? 0 : numel() / cols, .cols = cols, .row_stride = cols};
}

}  // namespace arc
