// SentencePiece's model file (`tokenizer.model`, `spiece.model`): a protocol buffer, read by hand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace arc {

struct SentencePieceModel {
  enum class Algorithm { unigram = 1, bpe = 2, word = 3, characters = 4 };
  enum class Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::normal;
  };

  std::vector<Piece> pieces;  // by id
  Algorithm algorithm = Algorithm::unigram;
  bool byte_fallback = false;                   // characters without a piece become bytes
  int64_t bos_id = 1, eos_id = 2, pad_id = -1;  // -1: none

  // Of the normalizer.
  std::string charsmap;                  // CharsMap's; empty: none
  bool add_dummy_prefix = true;          // a space before the text
  bool remove_extra_whitespaces = true;  // around the text, and doubled inside
  bool escape_whitespaces = true;        // spaces become U+2581
  bool whitespace_as_suffix = false;     // the added space goes behind the text
};

// Throws Error(corrupt_data): broken wire format, too many or too long pieces, texts that are not UTF-8, scores that
// are no numbers, not exactly one unknown piece, byte pieces that are incomplete.
SentencePieceModel parse_sentencepiece(std::string_view bytes);

// The same checks for a model from elsewhere. `where` names it in messages.
void check_sentencepiece(const SentencePieceModel& model, std::string_view where);

}  // namespace arc
