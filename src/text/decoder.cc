#include "text/decoder.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "fmt/format.h"

#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/pre_tokenizer.h"

namespace arc {
namespace {

// The byte that "<0x0A>" names.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  unsigned value = 0;
  const char* end = token.data() + 5;
  const auto result = std::from_chars(token.data() + 3, end, value, 16);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return static_cast<char>(value);
}

// Valid UTF-8 as it is; one U+FFFD for each longest piece that starts a character but does not complete it, or else for
// each byte (the practice of Unicode 15, section 3.9, and of Rust).
std::string replace_broken_characters(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    size_t n = utf8_sequence_length(bytes);
    if (n > 0) {
      out += bytes.substr(0, n);
    } else {
      n = std::min<size_t>(bytes.size(), 3);
      while (n > 1 && utf8_complete_prefix(bytes.substr(0, n)) != 0) --n;
      utf8_append(out, 0xFFFD);
    }
    bytes.remove_prefix(n);
  }
  return out;
}

// Takes from `pending` what further bytes cannot change.
std::string take_complete(std::string& pending) {
  const size_t n = utf8_complete_prefix(pending);
  std::string complete = pending.substr(0, n);
  pending.erase(0, n);
  return complete;
}

std::string take_all(std::string& pending) {
  return std::exchange(pending, {});
}

std::string strip_ends(const StripEnds& step, Decoder::StepState& state, std::string_view token) {
  state.pending += token;
  std::string_view text = state.pending;
  while (!state.stripped && state.n_stripped < step.start && text.starts_with(step.content)) {
    text.remove_prefix(step.content.size());
    ++state.n_stripped;
  }
  state.stripped = state.stripped || !text.empty();
  size_t keep = text.size();
  for (size_t i = 0; i < step.stop && text.substr(0, keep).ends_with(step.content); ++i) keep -= step.content.size();
  std::string out(text.substr(0, keep));
  state.pending = text.substr(keep);
  return out;
}

std::string replaced(std::string_view text, const std::string& from, std::string_view to) {
  return from.empty() ? std::string(text) : replace_matches(from, text, to);
}

// English without the spaces that tokens brought in, as `tokenizers` does it.
std::string cleaned_up(std::string text) {
  static constexpr std::pair<const char*, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  if (text.find(' ') == text.npos) return text;
  for (const auto& [from, to] : kRules) text = replaced(text, from, to);
  return text;
}

}  // namespace

// One token through one step. No result: nothing is certain yet, or the token is dropped.
struct DecodeOne {
  using Result = std::optional<std::string>;
  std::string_view token;
  Decoder::StepState& state;

  Result operator()(JoinWithSpaces) const {
    return std::exchange(state.started, true) ? fmt::format(" {}", token) : std::string(token);
  }
  Result operator()(DecodeByteLevel) const {
    if (!byte_level_decode(token, state.pending)) state.pending += token;
    return replace_broken_characters(take_complete(state.pending));
  }
  Result operator()(DecodeByteTokens) const {
    if (const auto byte = byte_of(token)) {
      state.pending += *byte;
      const std::string complete = take_complete(state.pending);
      return complete.empty() ? std::nullopt : Result(utf8_replace_invalid(complete));
    }
    return utf8_replace_invalid(take_all(state.pending)) + std::string(token);
  }
  Result operator()(const DecodeReplace& step) const { return replace_matches(step.pattern, token, step.content); }
  Result operator()(const DecodeMetaspace& step) const {
    const bool first = !std::exchange(state.started, true);
    return replace_matches(step.mark, token, first && step.drops_first ? "" : " ");
  }
  Result operator()(FuseTokens) const { return std::string(token); }
  Result operator()(const DropLeadingMark& step) const {
    const bool drops = !state.stripped && token.starts_with(step.mark);
    const std::string_view rest = drops ? token.substr(step.mark.size()) : token;
    state.stripped = state.stripped || !step.each || !rest.empty();
    return std::string(rest);
  }
  Result operator()(const StripEnds& step) const {
    if (!step.fused) state = {};
    return strip_ends(step, state, token);
  }
  Result operator()(const DecodeWordPiece& step) const {
    std::string text(token);
    if (std::exchange(state.started, true)) {
      text = token.starts_with(step.prefix) ? text.substr(step.prefix.size()) : fmt::format(" {}", token);
    }
    return step.cleanup ? cleaned_up(std::move(text)) : text;
  }
  // Whether a suffix becomes a space is known when another token comes.
  Result operator()(const DecodeWordEnds& step) const {
    std::string text = replaced(take_all(state.pending), step.suffix, " ");
    const size_t end = std::min(step.suffix.empty() ? token.size() : token.find(step.suffix), token.size());
    state.pending = token.substr(end);
    return text + std::string(token.substr(0, end));
  }
  Result operator()(const DecodeCtc& step) const {
    if (std::exchange(state.started, true) && state.last == token) return std::nullopt;
    state.last = token;
    std::string text = replaced(token, step.pad_token, "");
    if (step.cleanup) text = replaced(cleaned_up(std::move(text)), step.word_delimiter_token, " ");
    return text.empty() ? std::nullopt : Result(text);
  }
};

// What a step still holds when the last token is through.
struct DecodeEnd {
  Decoder::StepState& state;

  std::string operator()(DecodeByteLevel) const { return replace_broken_characters(take_all(state.pending)); }
  std::string operator()(DecodeByteTokens) const { return utf8_replace_invalid(take_all(state.pending)); }
  std::string operator()(const DecodeWordEnds& step) const {
    return replaced(take_all(state.pending), step.suffix, "");
  }
  template <typename Step>
  std::string operator()(const Step&) const {
    return {};
  }
};

void Decoder::push(std::string_view token, State& state, std::string& out) const {
  std::optional<std::string> text(token);
  for (size_t i = 0; i < steps_.size() && text; ++i) text = std::visit(DecodeOne{*text, state[i]}, steps_[i]);
  if (text) out += *text;
}

void Decoder::finish(State& state, std::string& out) const {
  std::string text;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (!text.empty()) text = std::visit(DecodeOne{text, state[i]}, steps_[i]).value_or("");
    text += std::visit(DecodeEnd{state[i]}, steps_[i]);
  }
  out += text;
}

std::string Decoder::token_bytes(std::string_view token) const {
  std::string bytes(token);
  for (const DecoderStep& step : steps_) {
    if (std::holds_alternative<DecodeByteLevel>(step)) {
      std::string decoded;
      if (byte_level_decode(bytes, decoded)) bytes = decoded;
    } else if (std::holds_alternative<DecodeByteTokens>(step)) {
      if (const auto byte = byte_of(bytes)) bytes = *byte;
    } else if (const auto* replace = std::get_if<DecodeReplace>(&step)) {
      bytes = replace_matches(replace->pattern, bytes, replace->content);
    } else if (const auto* metaspace = std::get_if<DecodeMetaspace>(&step)) {
      bytes = replace_matches(metaspace->mark, bytes, " ");
    } else if (const auto* word_piece = std::get_if<DecodeWordPiece>(&step)) {
      if (bytes.starts_with(word_piece->prefix)) bytes.erase(0, word_piece->prefix.size());
    } else if (const auto* word_ends = std::get_if<DecodeWordEnds>(&step)) {
      bytes = replaced(bytes, word_ends->suffix, " ");
    } else if (const auto* ctc = std::get_if<DecodeCtc>(&step)) {
      bytes = replaced(replaced(bytes, ctc->pad_token, ""), ctc->word_delimiter_token, " ");
    }
  }
  return bytes;
}

namespace {

StripEnds read_strip(const JsonFields& fields) {
  const int64_t start = fields.integer("start"), stop = fields.integer("stop");
  StripEnds step{.content = read_character(fields, "content")};
  if (start < 0 || start > 64 || stop < 0 || stop > 64) fields.unsupported("Strip: counts must lie between 0 and 64");
  step.start = static_cast<size_t>(start);
  step.stop = static_cast<size_t>(stop);
  return step;
}

struct Reader {
  std::vector<DecoderStep> steps;
  bool fused = false;   // tokens are joined
  bool closed = false;  // and the join is not known until the last is there

  void read(const FileJson& section) {
    const JsonFields fields(section, "tokenizer.json: decoder");
    const std::string type = fields.text("type");
    fields.check_n_steps(steps.size());
    if (closed || (fused && type != "Sequence" && type != "Fuse" && type != "Strip")) {
      fields.unsupported(fmt::format("`{}` after a step that joins all tokens is not supported", type));
    }
    if (type == "Sequence") {
      for (const FileJson& part : fields.array("decoders")) read(part);
    } else {
      steps.push_back(read_step(fields, type));
    }
  }

  DecoderStep read_step(const JsonFields& fields, const std::string& type) {
    if (type == "ByteFallback") return DecodeByteTokens{};
    if (type == "Replace") return DecodeReplace{read_pattern(fields), fields.text("content")};
    if (type == "Metaspace") {
      const MetaspaceStep step = read_metaspace(fields);
      return DecodeMetaspace{step.mark, step.prepend != MetaspaceStep::Prepend::never};
    }
    if (type == "WordPiece") {
      return DecodeWordPiece{fields.text_or("prefix", "##"), fields.flag_or("cleanup", true)};
    }
    if (type == "CTC") {
      return DecodeCtc{fields.text_or("pad_token", "<pad>"), fields.text_or("word_delimiter_token", "|"),
                       fields.flag_or("cleanup", true)};
    }
    if (type == "BPEDecoder") {
      closed = true;
      return DecodeWordEnds{fields.text_or("suffix", "</w>")};
    }
    if (type == "Strip") {
      StripEnds step = read_strip(fields);
      step.fused = fused;
      return step;
    }
    if (type != "ByteLevel" && type != "Fuse") fields.unsupported(fmt::format("`{}` is not supported", type));
    fused = true;
    if (type == "Fuse") return FuseTokens{};
    return DecodeByteLevel{};
  }
};

}  // namespace

Decoder read_decoder(const FileJson& section) {
  if (section.is_null()) return Decoder({JoinWithSpaces{}});
  Reader reader;
  reader.read(section);
  return Decoder(std::move(reader.steps));
}

}  // namespace arc
