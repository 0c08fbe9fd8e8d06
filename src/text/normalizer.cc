#include "text/normalizer.h"

#include "fmt/format.h"

#include "base/utf8.h"
#include "text/byte_level.h"

namespace arc {
namespace {

struct Apply {
  std::string text;

  void operator()(const PrependText& step) {
    if (!text.empty()) text.insert(0, step.text);
  }
  void operator()(const ReplaceText& step) { text = replace_matches(step.pattern, text, step.content); }
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
  void operator()(UnicodeForm form) { text = unicode_normalize(text, form); }
};

void read_step(const FileJson& section, std::vector<NormalizerStep>& steps) {
  const JsonFields fields(section, "tokenizer.json: normalizer");
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    for (const FileJson& part : fields.array("normalizers")) read_step(part, steps);
  } else if (type == "Prepend") {
    steps.push_back(PrependText{fields.text("prepend")});
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

std::string Normalizer::apply(std::string_view text) const {
  Apply apply{std::string(text)};
  for (const NormalizerStep& step : steps) std::visit(apply, step);
  return std::move(apply.text);
}

Normalizer read_normalizer(const FileJson& section) {
  Normalizer normalizer;
  if (!section.is_null()) read_step(section, normalizer.steps);
  return normalizer;
}

}  // namespace arc
