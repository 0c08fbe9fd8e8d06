// Storage with a shape: Tensor owns a share of its bytes, TensorView is what a kernel sees. No operators, no autograd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/dtype.h"
#include "base/mapped_file.h"
#include "tensor/shape.h"

namespace arc {

struct Device {
  enum class Kind : uint8_t { cpu, cuda };
  Kind kind = Kind::cpu;
  int8_t index = 0;
  bool operator==(const Device&) const = default;
};

// Bytes on a device: allocated (64-byte aligned, zeroed) or part of a mapped file. Immutable once shared.
class Storage {
 public:
  // Throws Error(resource) when the memory is not there.
  static std::shared_ptr<Storage> allocate(size_t size_bytes, Device device = {});
  // A read-only window into `file`; writing through it is a bug.
  static std::shared_ptr<Storage> map(std::shared_ptr<const MappedFile> file, size_t offset, size_t size_bytes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }
  Device device() const { return device_; }

 private:
  Storage() = default;
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
  Device device_;
  std::shared_ptr<const MappedFile> file_;  // null when allocated
};

// What a kernel sees: rows of `row_stride` elements, the innermost axis contiguous. Never outlives the step.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;  // elements between the starts of neighbouring rows

  template <typename T>
  T* row(int64_t r) const {
    return static_cast<T*>(data) + r * row_stride;
  }
};

// A contiguous tensor that shares its storage; cheap to copy.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<Storage> storage, size_t offset_bytes, Shape shape, DType dtype);
  static Tensor zeros(const Shape& shape, DType dtype, Device device = {});

  bool defined() const { return storage_ != nullptr; }
  Device device() const { return storage_->device(); }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  int64_t numel() const { return shape_.numel(); }
  size_t size_bytes() const { return static_cast<size_t>(numel()) * dtype_size(dtype_); }
  std::byte* data() const { return storage_->data() + offset_bytes_; }

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data());
  }

  // All axes but the last as rows.
  TensorView view() const;

 private:
  std::shared_ptr<Storage> storage_;
  size_t offset_bytes_ = 0;
  Shape shape_;
  DType dtype_ = DType::f32;
};

}  // namespace arc
