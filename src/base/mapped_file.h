// A file mapped read-only into memory, and small files read whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace arc {

// Move-only owner of a read-only mapping. The file must not shrink while it is mapped.
class MappedFile {
 public:
  MappedFile() = default;
  // Throws Error(not_found or io) that names the path.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }

  // Tells the kernel that [offset, offset + size) will not be read again soon.
  void release(size_t offset, size_t size_bytes) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// The whole file as text. Throws Error(not_found, io), or Error(corrupt_data) past `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, size_t max_bytes = size_t{256} << 20);

}  // namespace arc
