#include "io/safetensors.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "io/printable.h"
#include "io/safetensors_dtype.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

// ---- reading -------------------------------------------------------------------------------------------------------

CheckpointFile open_file(const fs::path& path) {
  CheckpointFile file{.path = path, .data = std::make_shared<const MappedFile>(path)};
  SafetensorsHeader header = parse_safetensors_header(file.data->bytes(), path.string());
  file.tensors = std::move(header.tensors);
  file.metadata = std::move(header.metadata);
  return file;
}

// The tensors that the files hold count; the index must not promise others.
Checkpoint open_index(const fs::path& path) {
  const std::map<std::string, std::string> index = parse_safetensors_index(read_text_file(path), path.string());
  std::set<std::string> names;
  for (const auto& [tensor, file] : index) names.insert(file);
  std::vector<CheckpointFile> files;
  for (const std::string& name : names) {
    const fs::path file = path.parent_path() / name;
    std::error_code error;
    if (!fs::exists(file, error)) {
      throw Error(ErrorCode::not_found, fmt::format("{} is missing, though {} lists it: download the rest of the model",
                                                    file.string(), path.filename().string()));
    }
    files.push_back(open_file(file));
  }
  Checkpoint checkpoint(std::move(files));
  for (const auto& [tensor, file] : index) {
    const TensorEntry* entry = checkpoint.find(tensor);
    if (entry != nullptr && checkpoint.path_of(*entry).filename() == file) continue;
    throw Error(ErrorCode::corrupt_data,
                fmt::format("{} says that {} holds tensor {}, but it does not: the files are not of one download",
                            path.string(), file, printable(tensor)));
  }
  return checkpoint;
}

// ---- writing -------------------------------------------------------------------------------------------------------

// The order in the file.
std::vector<const NamedTensor*> in_file_order(std::span<const NamedTensor> tensors) {
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& t : tensors) order.push_back(&t);
  std::ranges::sort(order, {}, [](const NamedTensor* t) {
    return std::tuple(-static_cast<int>(dtype_size(t->tensor.dtype())), std::string_view(t->name));
  });
  return order;
}

void check_writable(std::span<const NamedTensor> tensors) {
  std::set<std::string_view> names;
  for (const NamedTensor& t : tensors) {
    const auto refuse = [&](const char* why) {
      throw Error(ErrorCode::invalid_argument, fmt::format("cannot write tensor \"{}\": {}", printable(t.name), why));
    };
    if (t.name == "__metadata__" || !names.insert(t.name).second) refuse("the name is taken");
    if (dtype_to_safetensors(t.tensor.dtype()).empty()) refuse("the format has no such element type");
  }
}

std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCode::invalid_argument, fmt::format("a name or metadata of {} bytes is not UTF-8", text.size()));
  }
}

std::string header_of(const std::vector<const NamedTensor*>& order, const Metadata& metadata) {
  std::vector<std::string> members;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) pairs.push_back(quoted(key) + ":" + quoted(value));
    members.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(pairs, ",")));
  }
  size_t offset = 0;
  for (const NamedTensor* t : order) {
    const size_t end = offset + t->tensor.size_bytes();
    members.push_back(fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", quoted(t->name),
                                  dtype_to_safetensors(t->tensor.dtype()), fmt::join(t->tensor.shape().dims(), ","),
                                  offset, end));
    offset = end;
  }
  std::string header = fmt::format("{{{}}}", fmt::join(members, ","));
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

}  // namespace

Checkpoint open_safetensors(const fs::path& path) {
  if (path.extension() == ".json") return open_index(path);
  std::vector<CheckpointFile> files;
  files.push_back(open_file(path));
  return Checkpoint(std::move(files));
}

void write_safetensors(const fs::path& path, std::span<const NamedTensor> tensors, const Metadata& metadata) {
  check_writable(tensors);
  const std::vector<const NamedTensor*> order = in_file_order(tensors);
  const std::string header = header_of(order, metadata);

  const fs::path partial = path.string() + ".partial";
  std::ofstream out(partial, std::ios::binary | std::ios::trunc);
  for (int shift = 0; shift < 64; shift += 8) out.put(static_cast<char>(uint64_t{header.size()} >> shift));
  out << header;
  for (const NamedTensor* t : order) {
    out.write(reinterpret_cast<const char*>(t->tensor.data()), static_cast<std::streamsize>(t->tensor.size_bytes()));
  }
  out.close();
  std::error_code error;
  if (out) fs::rename(partial, path, error);
  if (out && !error) return;
  fs::remove(partial, error);
  throw Error(ErrorCode::io, fmt::format("cannot write {}: check that its folder exists, may be written to and has "
                                         "room",
                                         path.string()));
}

}  // namespace arc
