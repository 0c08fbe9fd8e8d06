#include "text/regex_classes.h"

#include <string>

#include "text/unicode.h"

namespace arc {
namespace {

CodeSet property(std::string_view name) {
  return *unicode_property(name);
}

CodeSet spaces() {
  return property("z") | CodeSet({{'\t', '\r'}, {0x85, 0x85}});
}

CodeSet words(RegexContext context) {
  if (context.dialect == RegexDialect::rust) return unicode_words();
  CodeSet set = property("alphabetic");
  for (const char* name : {"m", "nd", "nl", "pc"}) set = set | property(name);
  return context.in_brackets ? set : set | CodeSet({{0xB2, 0xB3}, {0xB9, 0xB9}, {0xBC, 0xBE}});
}

}  // namespace

std::optional<CodeSet> regex_class(char letter, RegexContext context) {
  switch (letter) {
    case 's':
      return spaces();
    case 'd':
      return property("nd");
    case 'h':
      return CodeSet({{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
    case 'w':
      return words(context);
    default:
      return std::nullopt;
  }
}

std::optional<CodeSet> regex_posix_class(std::string_view name, RegexContext context) {
  std::string small;
  for (const char c : name) small += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  if (small == "alpha") return property("alphabetic");
  if (small == "alnum") return property("alphabetic") | property("nd");
  if (small == "blank") return property("zs") | CodeSet::of('\t');
  if (small == "cntrl") return property("cc");
  if (small == "digit") return property("nd");
  if (small == "lower") return property("lowercase");
  if (small == "upper") return property("uppercase");
  if (small == "punct") return property("p") | property("s");
  if (small == "space") return spaces();
  if (small == "word") return words(context);
  if (small == "xdigit") return regex_class('h', context);
  const CodeSet graph = ~(spaces() | property("cc") | property("cn") | property("cs"));
  if (small == "graph") return graph;
  if (small == "print") return graph | property("zs");
  return std::nullopt;
}

std::optional<CodeSet> regex_property(std::string_view name, RegexContext context) {
  if (const auto set = unicode_property(name)) return set;
  return regex_posix_class(name, context);
}

}  // namespace arc
