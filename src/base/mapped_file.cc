#include "base/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

Error system_error(const std::filesystem::path& path, const char* doing) {
  const int error = errno;
  return Error(error == ENOENT ? ErrorCode::not_found : ErrorCode::io,
               fmt::format("cannot {} {}: {}", doing, path.string(), std::strerror(error)));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw system_error(path, "open");
  struct stat info = {};
  void* data = nullptr;
  const bool ok = ::fstat(file, &info) == 0;
  const bool regular = ok && S_ISREG(info.st_mode);
  if (regular && info.st_size > 0) {
    data = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file, 0);
  }
  const int saved = errno;
  ::close(file);
  errno = saved;
  if (!ok || data == MAP_FAILED) throw system_error(path, "map");
  if (!regular) throw Error(ErrorCode::io, fmt::format("{} is not a regular file", path.string()));
  data_ = static_cast<const std::byte*>(data);
  size_bytes_ = static_cast<size_t>(info.st_size);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

void MappedFile::release(size_t offset, size_t size_bytes) const {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t first = (offset + page - 1) / page * page;
  const size_t last = (offset + size_bytes) / page * page;
  if (first < last) ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

std::string read_text_file(const std::filesystem::path& path, size_t max_bytes) {
  const MappedFile file(path);
  if (file.bytes().size() > max_bytes) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} is {} bytes long; the limit is {}", path.string(), file.bytes().size(), max_bytes));
  }
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace arc
