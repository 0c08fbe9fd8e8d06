#include "text/sentencepiece_model.h"

#include <cmath>
#include <cstddef>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"

namespace arc {
namespace {

constexpr size_t kMaxPieceBytes = 1024;

[[noreturn]] void fail(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::corrupt_data, fmt::format("{}: {}", where, what));
}

}  // namespace

void check_sentencepiece(const SentencePieceModel& model, std::string_view where) {
  using Type = SentencePieceModel::Type;
  size_t n_unknown = 0, n_bytes = 0;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& [text, score, type] = model.pieces[id];
    if (text.empty() || text.size() > kMaxPieceBytes) {
      fail(where, fmt::format("piece {} has {} bytes; pieces have 1 to {}", id, text.size(), kMaxPieceBytes));
    }
    if (!is_valid_utf8(text)) fail(where, fmt::format("piece {} is not valid UTF-8", id));
    if (!std::isfinite(score)) fail(where, fmt::format("the score of piece {} is not finite", id));
    n_unknown += type == Type::unknown;
    n_bytes += type == Type::byte;
  }
  if (n_unknown != 1) fail(where, fmt::format("has {} pieces for the unknown, not one", n_unknown));
  if (model.byte_fallback && n_bytes != 256) fail(where, fmt::format("has {} byte pieces, not 256", n_bytes));
}

}  // namespace arc
