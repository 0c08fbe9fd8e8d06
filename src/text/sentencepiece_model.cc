#include "text/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <optional>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/vocabulary.h"

namespace arc {
namespace {

constexpr size_t kMaxFileBytes = size_t{128} << 20;
constexpr size_t kMaxPieceBytes = 1024;
constexpr std::string_view kWhere = "SentencePiece model";

[[noreturn]] void fail(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::corrupt_data, fmt::format("{}: {}", where, what));
}

// One message of the wire format: fields one by one, each a number or a run of bytes.
class Message {
 public:
  struct Field {
    uint64_t number = 0;
    uint64_t value = 0;      // of a number; the bits of a float
    std::string_view bytes;  // of a text or message
    bool has_bytes = false;
  };

  explicit Message(std::string_view rest) : rest_(rest) {}

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const uint64_t tag = varint();
    Field field{.number = tag >> 3};
    switch (tag & 7) {
      case 0:
        field.value = varint();
        return field;
      case 1:
        field.value = fixed(8);
        return field;
      case 2:
        field.bytes = take(varint());
        field.has_bytes = true;
        return field;
      case 5:
        field.value = fixed(4);
        return field;
      default:
        fail(kWhere, fmt::format("field {} has wire type {}, which is unknown; is this a SentencePiece file?",
                                 field.number, tag & 7));
    }
  }

 private:
  std::string_view take(uint64_t n) {
    if (n > rest_.size()) fail(kWhere, fmt::format("a field of {} bytes goes past the end; the file is cut off", n));
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  uint64_t fixed(size_t n) {
    uint64_t value = 0;
    const std::string_view bytes = take(n);
    for (size_t i = n; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
    fail(kWhere, "a number is longer than 64 bits");
  }

  std::string_view rest_;
};

template <typename Enum>
Enum enum_of(const Message::Field& field, uint64_t last, const char* what) {
  if (field.value < 1 || field.value > last) fail(kWhere, fmt::format("{} {} is unknown", what, field.value));
  return static_cast<Enum>(field.value);
}

SentencePieceModel::Piece read_piece(std::string_view bytes) {
  SentencePieceModel::Piece piece;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 1) piece.text = field->bytes;
    if (field->number == 2) piece.score = std::bit_cast<float>(static_cast<uint32_t>(field->value));
    if (field->number == 3) piece.type = enum_of<SentencePieceModel::Type>(*field, 6, "piece type");
  }
  return piece;
}

void read_trainer(std::string_view bytes, SentencePieceModel& model) {
  const auto id = [](uint64_t value) { return static_cast<int64_t>(static_cast<int32_t>(value)); };
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 3) model.algorithm = enum_of<SentencePieceModel::Algorithm>(*field, 4, "model type");
    if (field->number == 24) model.whitespace_as_suffix = field->value != 0;
    if (field->number == 35) model.byte_fallback = field->value != 0;
    if (field->number == 41) model.bos_id = id(field->value);
    if (field->number == 42) model.eos_id = id(field->value);
    if (field->number == 43) model.pad_id = id(field->value);
  }
}

void read_normalizer(std::string_view bytes, SentencePieceModel& model) {
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 2) model.charsmap = field->bytes;
    if (field->number == 3) model.add_dummy_prefix = field->value != 0;
    if (field->number == 4) model.remove_extra_whitespaces = field->value != 0;
    if (field->number == 5) model.escape_whitespaces = field->value != 0;
  }
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view bytes) {
  if (bytes.size() > kMaxFileBytes) {
    fail(kWhere, fmt::format("has {} bytes; the limit is {}", bytes.size(), kMaxFileBytes));
  }
  SentencePieceModel model;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number < 1 || field->number > 3) continue;
    if (!field->has_bytes) fail(kWhere, fmt::format("field {} is no message", field->number));
    if (field->number == 1) {
      if (model.pieces.size() >= size_t{kMaxTokens}) fail(kWhere, fmt::format("has more than {} pieces", kMaxTokens));
      model.pieces.push_back(read_piece(field->bytes));
    } else {
      field->number == 2 ? read_trainer(field->bytes, model) : read_normalizer(field->bytes, model);
    }
  }
  check_sentencepiece(model, kWhere);
  return model;
}

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
