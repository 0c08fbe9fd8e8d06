#include "text/normalizer.h"

#include "fmt/format.h"

#include "base/utf8.h"
#include "text/byte_level.h"

namespace arc {
namespace {

// A file must not turn a text into a thousand times as much. NFKD makes up to 11 times, byte level twice.
constexpr size_t kMaxGrowth = 32;
constexpr size_t kMaxContentBytes = 1024;

// A copy in which every character is what `rewrite(c, out)` appends for it.
template <typename Rewrite>
std::string rewritten(std::string_view text, const Rewrite& rewrite) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) rewrite(utf8_decode(text, i), out);
  return out;
}

bool is_nmt_dropped(char32_t c) {
  return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

bool is_nmt_space(char32_t c) {
  return c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
         c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

struct Apply {
  std::string text;
  size_t max_bytes = 0;
  ByteRanges ranges;

  void operator()(const PrependText& step) {
    if (text.empty()) return;
    text.insert(0, step.text);
    for (ByteRange& range : ranges) range = {range.begin + step.text.size(), range.end + step.text.size()};
  }
  void operator()(const ReplaceText& step) {
    if (!ranges.empty()) ranges = moved_ranges(find_matches(step.pattern, text), step.content.size());
    text = replace_matches(step.pattern, text, step.content, max_bytes);
  }
  void operator()(const StripSpaces& step) {
    const auto spaces = find_matches(CharTest(is_unicode_space), text);
    size_t begin = 0, end = text.size();
    if (step.left) {
      for (auto it = spaces.begin(); it != spaces.end() && it->begin == begin; ++it) begin = it->end;
    }
    if (step.right) {
      for (auto it = spaces.rbegin(); it != spaces.rend() && it->end == end && it->begin >= begin; ++it)
        end = it->begin;
    }
    text = text.substr(begin, end - begin);
  }
  void operator()(RemoveMarks) { text = replace_matches(CharTest(is_unicode_mark), text, ""); }
  void operator()(Lowercase) { text = unicode_lowercase(text); }
  void operator()(ByteLevelMap) {
    std::string mapped;
    byte_level_encode(text, mapped);
    text = std::move(mapped);
  }
  void operator()(NmtClean) {
    text = rewritten(text, [](char32_t c, std::string& out) {
      if (!is_nmt_dropped(c)) utf8_append(out, is_nmt_space(c) ? ' ' : c);
    });
  }
  void operator()(const BertCleaning& step) {
    if (step.clean_text) {
      text = rewritten(text, [](char32_t c, std::string& out) {
        if (!is_bert_dropped(c)) utf8_append(out, is_unicode_space(c) ? ' ' : c);
      });
    }
    if (step.chinese_apart) {
      text = rewritten(text, [](char32_t c, std::string& out) {
        const bool apart = is_bert_chinese(c);
        if (apart) out += ' ';
        utf8_append(out, c);
        if (apart) out += ' ';
      });
    }
    if (step.strip_accents) {
      text = replace_matches(CharTest(is_bert_accent), unicode_normalize(text, UnicodeForm::nfd), "");
    }
    if (step.lowercase) text = unicode_lowercase(text);
  }
  void operator()(const Precompiled& map) { text = map.apply(text, max_bytes); }
  void operator()(const SentencePieceStep& step) { text = step.normalizer->apply(text); }
  void operator()(UnicodeForm form) { text = unicode_normalize(text, form); }

 private:
  // The ranges after each match has become `size` bytes. What replaces bytes of a range is of it.
  ByteRanges moved_ranges(const std::vector<Span>& matches, size_t size) const {
    ByteRanges moved;
    size_t in = 0, out = 0;
    const auto copy = [&](size_t end) {
      for (const ByteRange& range : ranges_within(ranges, in, end)) {
        append_range(moved, out + range.begin, out + range.end);
      }
      out += end - in;
      in = end;
    };
    for (const Span& match : matches) {
      copy(match.begin);
      const ByteRange* range = range_after(ranges, match.begin);
      if (range != nullptr && range->begin < match.end) append_range(moved, out, out + size);
      out += size;
      in = match.end;
    }
    copy(text.size());
    return moved;
  }
};

void read_step(const FileJson& section, std::vector<NormalizerStep>& steps) {
  const JsonFields fields(section, "tokenizer.json: normalizer");
  const std::string type = fields.text("type");
  fields.check_n_steps(steps.size());
  if (type == "Sequence") {
    for (const FileJson& part : fields.array("normalizers")) read_step(part, steps);
  } else if (type == "Prepend") {
    steps.push_back(PrependText{fields.text("prepend")});
    if (fields.text("prepend").size() > kMaxContentBytes) fields.fail("Prepend: `prepend` is too long");
  } else if (type == "Replace") {
    steps.push_back(ReplaceText{read_pattern(fields), fields.text("content")});
  } else if (type == "Strip") {
    steps.push_back(StripSpaces{fields.flag_or("strip_left", true), fields.flag_or("strip_right", true)});
  } else if (type == "StripAccents") {
    steps.push_back(RemoveMarks{});
  } else if (type == "Lowercase") {
    steps.push_back(Lowercase{});
  } else if (type == "ByteLevel") {
    steps.push_back(ByteLevelMap{});
  } else if (type == "Nmt") {
    steps.push_back(NmtClean{});
  } else if (type == "BertNormalizer") {
    const bool lowercase = fields.flag_or("lowercase", true);
    steps.push_back(BertCleaning{.clean_text = fields.flag_or("clean_text", true),
                                 .chinese_apart = fields.flag_or("handle_chinese_chars", true),
                                 .strip_accents = fields.flag_or("strip_accents", lowercase),
                                 .lowercase = lowercase});
  } else if (type == "Precompiled") {
    steps.push_back(read_precompiled(fields));
  } else if (type == "NFC") {
    steps.push_back(UnicodeForm::nfc);
  } else if (type == "NFD") {
    steps.push_back(UnicodeForm::nfd);
  } else if (type == "NFKC") {
    steps.push_back(UnicodeForm::nfkc);
  } else if (type == "NFKD") {
    steps.push_back(UnicodeForm::nfkd);
  } else {
    fields.unsupported(fmt::format("`{}` is not supported", type));
  }
}

}  // namespace

std::string Normalizer::apply(std::string_view text, ByteRanges* ranges) const {
  Apply apply{.text = std::string(text),
              .max_bytes = kMaxGrowth * text.size() + kMaxContentBytes,
              .ranges = ranges != nullptr ? *ranges : ByteRanges()};
  for (const NormalizerStep& step : steps) {
    const bool moves_ranges = std::holds_alternative<PrependText>(step) || std::holds_alternative<ReplaceText>(step);
    const std::string before = moves_ranges || apply.ranges.empty() ? std::string() : apply.text;
    std::visit(apply, step);
    if (apply.text.size() > apply.max_bytes) fail_growth();
    if (!before.empty() && before != apply.text) apply.ranges = {{0, apply.text.size()}};
  }
  if (ranges != nullptr) *ranges = std::move(apply.ranges);
  return std::move(apply.text);
}

Normalizer read_normalizer(const FileJson& section) {
  Normalizer normalizer;
  if (!section.is_null()) read_step(section, normalizer.steps);
  return normalizer;
}

}  // namespace arc
