#include "text/pre_tokenizer.h"

#include "fmt/format.h"

#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/cut_patterns.h"
#include "text/unicode.h"

namespace arc {
namespace {

struct Part {
  Span span;
  bool is_match = false;
};

// Matches and what lies between them, in order, covering the text.
std::vector<Part> cover(const SplitStep& step, std::string_view text) {
  const std::vector<Span> matches = find_matches(step.pattern, text);
  std::vector<Part> parts;
  parts.reserve(2 * matches.size() + 1);
  size_t done = 0;
  for (const Span& match : matches) {
    if (done < match.begin) parts.push_back({{done, match.begin}, step.invert});
    parts.push_back({match, !step.invert});
    done = match.end;
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, step.invert});
  return parts;
}

// Whether part i stays in one piece with part i - 1.
bool joins(SplitBehavior behavior, const std::vector<Part>& parts, size_t i) {
  const bool match = parts[i].is_match, match_before = parts[i - 1].is_match;
  switch (behavior) {
    case SplitBehavior::contiguous:
      return match == match_before;
    case SplitBehavior::merged_with_previous:
      return match && !match_before;
    case SplitBehavior::merged_with_next:
      return match_before && !match;
    case SplitBehavior::removed:
    case SplitBehavior::isolated:
      return false;
  }
  return false;
}

// Appends the pieces of `text`. Returns whether the first of its bytes were kept.
bool split(const SplitStep& step, std::string_view text, Pieces& out) {
  const std::vector<Part> parts = cover(step, text);
  const auto dropped = [&](const Part& part) { return step.behavior == SplitBehavior::removed && part.is_match; };
  for (size_t i = 0; i < parts.size(); ++i) {
    if (dropped(parts[i])) continue;
    if (i > 0 && !joins(step.behavior, parts, i)) out.close();
    out.text += text.substr(parts[i].span.begin, parts[i].span.end - parts[i].span.begin);
  }
  out.close();
  return !dropped(parts[0]);
}

// Appends the pieces of `text`. Returns whether the first of its bytes were kept: characters before the first that has
// a script are lost, as in `tokenizers`.
bool split_by_script(std::string_view text, Pieces& out) {
  uint8_t last = 0;
  size_t begin = 0;  // of the piece, once there is one
  for (size_t i = 0; i < text.size();) {
    const size_t at = i;
    const uint8_t script = unicode_script(utf8_decode(text, i));
    if (script == 0 || script == last) continue;
    if (last != 0) out.append(text.substr(begin, at - begin));
    begin = at;
    last = script;
  }
  if (last != 0) out.append(text.substr(begin));
  size_t first = 0;
  return last != 0 && unicode_script(utf8_decode(text, first)) != 0;
}

struct Apply {
  Pieces in;

  void operator()(const SplitStep& step) {
    Pieces out;
    out.text.reserve(in.text.size());
    for (size_t i = 0; i < in.size(); ++i) {
      const bool front_kept = split(step, in[i], out);
      if (i == 0) out.at_start = in.at_start && front_kept;
    }
    in = std::move(out);
  }
  void operator()(PrefixSpaceStep) {
    each([](std::string_view piece, bool, Pieces& out) {
      if (!piece.starts_with(' ')) out.text += ' ';
      out.text += piece;
    });
  }
  void operator()(ByteLevelStep) {
    each([](std::string_view piece, bool, Pieces& out) { byte_level_encode(piece, out.text); });
  }
  void operator()(const MetaspaceStep& step) {
    using Prepend = MetaspaceStep::Prepend;
    each([&step](std::string_view piece, bool is_first, Pieces& out) {
      const std::string marked = replace_matches(std::string(" "), piece, step.mark);
      const bool wanted = step.prepend == Prepend::always || (step.prepend == Prepend::first && is_first);
      if (wanted && !marked.starts_with(step.mark)) out.text += step.mark;
      out.text += marked;
    });
  }

  void operator()(const FixedLengthStep& step) {
    each([&step](std::string_view piece, bool, Pieces& out) {
      size_t n = 0;
      for (const char byte : piece) {
        if ((byte & 0xC0) != 0x80 && n++ % step.n_characters == 0) out.close();
        out.text += byte;
      }
    });
  }
  void operator()(ScriptsStep) {
    bool front_kept = true;
    each([&](std::string_view piece, bool is_first, Pieces& out) {
      const bool kept = split_by_script(piece, out);
      if (is_first) front_kept = kept;
    });
    in.at_start = in.at_start && front_kept;
  }

  // Rewrites every piece. `rewrite(piece, whether it begins where the input begins, out)` appends to
  // `out`, and may close pieces in between.
  template <typename Rewrite>
  void each(const Rewrite& rewrite) {
    Pieces out{.at_start = in.at_start};
    out.text.reserve(in.text.size() + in.text.size() / 4);
    out.ends.reserve(in.size());
    for (size_t i = 0; i < in.size(); ++i) {
      rewrite(in[i], in.at_start && i == 0, out);
      out.close();
    }
    in = std::move(out);
  }
};

SplitBehavior read_behavior(const JsonFields& fields, std::string_view fallback) {
  const std::string name = fields.text_or("behavior", fallback);
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  fields.unsupported(fmt::format("behavior `{}` is not supported", name));
}

void read_step(const FileJson& section, std::vector<PreTokenizerStep>& steps) {
  const JsonFields fields(section, "tokenizer.json: pre_tokenizer");
  const std::string type = fields.text("type");
  fields.check_n_steps(steps.size());
  if (type == "Sequence") {
    for (const FileJson& part : fields.array("pretokenizers")) read_step(part, steps);
  } else if (type == "ByteLevel") {
    if (fields.flag_or("add_prefix_space", true)) steps.push_back(PrefixSpaceStep{});
    if (fields.flag_or("use_regex", true)) steps.push_back(SplitStep{Regex(kGpt2Cut)});
    steps.push_back(ByteLevelStep{});
  } else if (type == "Split") {
    steps.push_back(SplitStep{read_pattern(fields), read_behavior(fields, ""), fields.flag_or("invert", false)});
  } else if (type == "Digits") {
    const bool individual = fields.flag_or("individual_digits", false);
    steps.push_back(
        SplitStep{CharTest(is_unicode_numeric), individual ? SplitBehavior::isolated : SplitBehavior::contiguous});
  } else if (type == "Metaspace") {
    const MetaspaceStep step = read_metaspace(fields);
    steps.push_back(step);
    if (fields.flag_or("split", true)) steps.push_back(SplitStep{step.mark, SplitBehavior::merged_with_next});
  } else if (type == "Whitespace") {
    steps.push_back(SplitStep{CharTest(is_unicode_word), SplitBehavior::contiguous});
    steps.push_back(SplitStep{CharTest(is_unicode_space), SplitBehavior::removed});
  } else if (type == "WhitespaceSplit") {
    steps.push_back(SplitStep{CharTest(is_unicode_space), SplitBehavior::removed});
  } else if (type == "BertPreTokenizer") {
    steps.push_back(SplitStep{CharTest(is_unicode_space), SplitBehavior::removed});
    steps.push_back(SplitStep{CharTest(is_unicode_punctuation), SplitBehavior::isolated});
  } else if (type == "CharDelimiterSplit") {
    steps.push_back(SplitStep{read_character(fields, "delimiter"), SplitBehavior::removed});
  } else if (type == "FixedLength") {
    const int64_t length = fields.integer_or("length", 5);
    if (length <= 0) fields.fail("FixedLength: `length` must be positive");
    steps.push_back(FixedLengthStep{static_cast<size_t>(length)});
  } else if (type == "UnicodeScripts") {
    steps.push_back(ScriptsStep{});
  } else if (type == "Punctuation") {
    steps.push_back(SplitStep{CharTest(is_unicode_punctuation), read_behavior(fields, "Isolated")});
  } else {
    fields.unsupported(fmt::format("`{}` is not supported", type));
  }
}

}  // namespace

Pieces PreTokenizer::apply(Pieces pieces) const {
  Apply apply{std::move(pieces)};
  for (const PreTokenizerStep& step : steps) std::visit(apply, step);
  return std::move(apply.in);
}

PreTokenizer read_pre_tokenizer(const FileJson& section) {
  PreTokenizer pre_tokenizer;
  if (!section.is_null()) read_step(section, pre_tokenizer.steps);
  return pre_tokenizer;
}

MetaspaceStep read_metaspace(const JsonFields& fields) {
  MetaspaceStep step{.mark = read_character(fields, "replacement")};
  const std::string scheme =
      fields.text_or("prepend_scheme", fields.flag_or("add_prefix_space", true) ? "always" : "never");
  if (scheme == "first") {
    step.prepend = MetaspaceStep::Prepend::first;
  } else if (scheme == "never") {
    step.prepend = MetaspaceStep::Prepend::never;
  } else if (scheme != "always") {
    fields.fail(fmt::format("`prepend_scheme` `{}` is none of first, always, never", scheme));
  }
  return step;
}

}  // namespace arc
