// Decoders: from token texts back to text, one token at a time. Made for streams: what is still open (a character whose
// bytes have not all come, a space that the end may strip) waits in the state; everything else comes out at once.
//
// One difference to `tokenizers` is meant: where byte tokens (<0x00> to <0xFF>) follow each other and are not all valid
// UTF-8, `tokenizers` replaces every byte of the run; here only the invalid bytes are replaced, because characters that
// are complete have been given out already.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/pattern.h"

namespace arc {

struct JoinWithSpaces {};    // tokens as they are; what happens without a decoder
struct DecodeByteLevel {};   // byte-level alphabet to bytes; fuses
struct DecodeByteTokens {};  // <0x0A> to its byte
struct DecodeReplace {
  Pattern pattern;
  std::string content;
};
struct DecodeMetaspace {
  std::string mark;
  bool drops_first = true;  // marks in the first token vanish instead of becoming spaces
};
struct DropLeadingMark {  // SentencePiece: the first token loses a mark in front
  std::string mark;
  bool each = false;  // and so does every other, until one has text left
};
struct FuseTokens {};   // from here on all tokens are one
struct StripEnds {      // of every token, or of the whole text after a fusing step
  std::string content;  // one character
  size_t start = 0, stop = 0;
  bool fused = false;
};
struct DecodeWordPiece {
  std::string prefix = "##";  // tokens without it have a space before them, but not the first
  bool cleanup = true;
};
struct DecodeWordEnds {         // BPEDecoder
  std::string suffix = "</w>";  // becomes a space, in the last token nothing
};
struct DecodeCtc {                         // of equal neighbours one is left
  std::string pad_token = "<pad>";         // vanishes
  std::string word_delimiter_token = "|";  // with cleanup: a space
  bool cleanup = true;
};

using DecoderStep = std::variant<JoinWithSpaces, DecodeByteLevel, DecodeByteTokens, DecodeReplace, DecodeMetaspace,
                                 DropLeadingMark, FuseTokens, StripEnds, DecodeWordPiece, DecodeWordEnds, DecodeCtc>;

class Decoder {
 public:
  // What one stream remembers, step by step.
  struct StepState {
    bool started = false;  // a token came by
    bool stripped = false;
    size_t n_stripped = 0;
    std::string pending;
    std::string last;  // token
  };
  using State = std::vector<StepState>;

  explicit Decoder(std::vector<DecoderStep> steps) : steps_(std::move(steps)) {}

  State start() const { return State(steps_.size()); }
  // Appends what `token` makes certain; always whole UTF-8 characters.
  void push(std::string_view token, State& state, std::string& out) const;
  // Appends what was open, invalid bytes replaced by U+FFFD. The state must not be used again.
  void finish(State& state, std::string& out) const;

  // The bytes that `token` stands for, apart from what depends on its place in a text.
  std::string token_bytes(std::string_view token) const;

 private:
  std::vector<DecoderStep> steps_;
};

// Reads the section `decoder` of a tokenizer.json; null gives JoinWithSpaces.
Decoder read_decoder(const FileJson& section);

}  // namespace arc
