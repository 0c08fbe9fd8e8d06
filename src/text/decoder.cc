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

}  // namespace

// One token through one step; an empty result means that nothing is certain yet.
struct DecodeOne {
  std::string_view token;
  Decoder::StepState& state;

  std::string operator()(JoinWithSpaces) const {
    return std::exchange(state.started, true) ? fmt::format(" {}", token) : std::string(token);
  }
  std::string operator()(DecodeByteLevel) const {
    if (!byte_level_decode(token, state.pending)) state.pending += token;
    return replace_broken_characters(take_complete(state.pending));
  }
  std::string operator()(DecodeByteTokens) const {
    if (const auto byte = byte_of(token)) {
      state.pending += *byte;
      return utf8_replace_invalid(take_complete(state.pending));
    }
    return utf8_replace_invalid(take_all(state.pending)) + std::string(token);
  }
  std::string operator()(const DecodeReplace& step) const { return replace_matches(step.pattern, token, step.content); }
  std::string operator()(const DecodeMetaspace& step) const {
    const bool first = !std::exchange(state.started, true);
    return replace_matches(step.mark, token, first && step.drops_first ? "" : " ");
  }
  std::string operator()(FuseTokens) const { return std::string(token); }
  std::string operator()(const StripEnds& step) const {
    if (!step.fused) state = {};
    return strip_ends(step, state, token);
  }
};

// What a step still holds when the last token is through.
struct DecodeEnd {
  Decoder::StepState& state;

  std::string operator()(DecodeByteLevel) const { return replace_broken_characters(take_all(state.pending)); }
  std::string operator()(DecodeByteTokens) const { return utf8_replace_invalid(take_all(state.pending)); }
  template <typename Step>
  std::string operator()(const Step&) const {
    return {};
  }
};

void Decoder::push(std::string_view token, State& state, std::string& out) const {
  std::string text(token);
  for (size_t i = 0; i < steps_.size() && !text.empty(); ++i) {
    text = std::visit(DecodeOne{text, state[i]}, steps_[i]);
  }
  out += text;
}

void Decoder::finish(State& state, std::string& out) const {
  std::string text;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (!text.empty()) text = std::visit(DecodeOne{text, state[i]}, steps_[i]);
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
    }
  }
  return bytes;
}

namespace {

StripEnds read_strip(const JsonFields& fields) {
  const int64_t start = fields.integer("start"), stop = fields.integer("stop");
  StripEnds step{.content = fields.text("content")};
  if (step.content.empty() || utf8_sequence_length(step.content) != step.content.size()) {
    fields.fail("Strip: `content` must be one character");
  }
  if (start < 0 || start > 64 || stop < 0 || stop > 64) fields.unsupported("Strip: counts must lie between 0 and 64");
  step.start = static_cast<size_t>(start);
  step.stop = static_cast<size_t>(stop);
  return step;
}

struct Reader {
  std::vector<DecoderStep> steps;
  bool fused = false;

  void read(const FileJson& section) {
    const JsonFields fields(section, "tokenizer.json: decoder");
    const std::string type = fields.text("type");
    if (fused && type != "Sequence" && type != "Fuse" && type != "Strip") {
      fields.unsupported(fmt::format("`{}` after a step that joins all tokens is not supported", type));
    }
    if (type == "Sequence") {
      for (const FileJson& part : fields.array("decoders")) read(part);
    } else if (type == "ByteLevel") {
      steps.push_back(DecodeByteLevel{});
      fused = true;
    } else if (type == "ByteFallback") {
      steps.push_back(DecodeByteTokens{});
    } else if (type == "Replace") {
      steps.push_back(DecodeReplace{read_pattern(fields), fields.text("content")});
    } else if (type == "Metaspace") {
      const MetaspaceStep step = read_metaspace(fields);
      steps.push_back(DecodeMetaspace{step.mark, step.prepend != MetaspaceStep::Prepend::never});
    } else if (type == "Fuse") {
      steps.push_back(FuseTokens{});
      fused = true;
    } else if (type == "Strip") {
      StripEnds step = read_strip(fields);
      step.fused = fused;
      steps.push_back(std::move(step));
    } else {
      fields.unsupported(fmt::format("`{}` is not supported", type));
    }
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
