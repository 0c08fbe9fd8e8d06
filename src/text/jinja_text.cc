#include "text/jinja_text.h"

#include <algorithm>
#include <cstring>

#include "base/utf8.h"
#include "text/jinja_unicode.h"

namespace arc::jinja {
namespace {

bool is_continuation(char byte) {
  return (static_cast<uint8_t>(byte) & 0xC0) == 0x80;
}

size_t previous_code_point(std::string_view text, size_t byte) {
  do {
    --byte;
  } while (byte > 0 && is_continuation(text[byte]));
  return byte;
}

char32_t code_point_at(std::string_view text, size_t byte) {
  return utf8_decode(text, byte);
}

bool is_cased(char32_t c) {
  return is_lower(c) || is_upper(c) || is_title(c);
}

// Whether a capital sigma at `byte` ends a word: a cased letter before it and none after it.
bool is_final_sigma(std::string_view text, size_t byte) {
  size_t i = byte;
  char32_t c = 0;
  do {
    if (i == 0) return false;
    i = previous_code_point(text, i);
    c = code_point_at(text, i);
  } while (is_case_ignorable(c));
  if (!is_cased(c)) return false;
  for (i = next_code_point(text, byte); i < text.size(); i = next_code_point(text, i)) {
    c = code_point_at(text, i);
    if (!is_case_ignorable(c)) return !is_cased(c);
  }
  return true;
}

void append_lower_at(std::string& out, std::string_view text, size_t byte, char32_t c) {
  constexpr char32_t kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2;
  if (c == kCapitalSigma && is_final_sigma(text, byte)) return utf8_append(out, kFinalSigma);
  append_lower(out, c);
}

template <typename Append>
std::string map_code_points(std::string_view text, Append append) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    append(out, start, utf8_decode(text, i));
  }
  return out;
}

// The bytes of the line end at `byte`, 0 when there is none.
size_t line_end_length(std::string_view text, size_t byte) {
  if (text[byte] == '\r') return byte + 1 < text.size() && text[byte + 1] == '\n' ? 2 : 1;
  const char32_t c = code_point_at(text, byte);
  const bool ends =
      c == '\n' || c == 0x0B || c == 0x0C || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  return ends ? next_code_point(text, byte) - byte : 0;
}

std::string reversed_bytes(std::string_view text) {
  return std::string(text.rbegin(), text.rend());
}

}  // namespace

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char byte) { return !is_continuation(byte); }));
}

size_t next_code_point(std::string_view text, size_t byte) {
  do {
    ++byte;
  } while (byte < text.size() && is_continuation(text[byte]));
  return byte;
}

size_t byte_of(std::string_view text, size_t index) {
  size_t byte = 0;
  while (byte < text.size() && index > 0) {
    byte = next_code_point(text, byte);
    --index;
  }
  return byte;
}

size_t find_bytes(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const void* hit = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return hit ? static_cast<size_t>(static_cast<const char*>(hit) - text.data()) : std::string_view::npos;
}

size_t count_bytes(std::string_view text, std::string_view needle) {
  if (needle.empty()) return count_code_points(text) + 1;
  size_t count = 0;
  for (size_t at = find_bytes(text, needle); at != std::string_view::npos; ++count) {
    at = find_bytes(text, needle, at + needle.size());
  }
  return count;
}

std::vector<size_t> find_all(std::string_view text, std::string_view needle, int64_t limit) {
  std::vector<size_t> found;
  for (size_t at = find_bytes(text, needle); limit != 0 && at != std::string_view::npos; --limit) {
    found.push_back(at);
    if (needle.empty() && at == text.size()) break;
    at = find_bytes(text, needle, needle.empty() ? next_code_point(text, at) : at + needle.size());
  }
  return found;
}

SliceRange slice_range(int64_t length, std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step) {
  const int64_t low = step < 0 ? -1 : 0;
  const int64_t high = step < 0 ? length - 1 : length;
  const auto clamp = [&](std::optional<int64_t> index, int64_t fallback) {
    if (!index) return fallback;
    const int64_t from_front = *index < 0 ? std::max(*index, -length - 1) + length : *index;
    return std::clamp(from_front, low, std::max(high, low));
  };
  SliceRange range{
      .start = clamp(start, step < 0 ? high : low), .stop = clamp(stop, step < 0 ? low : high), .step = step};
  const int64_t span = step < 0 ? range.start - range.stop : range.stop - range.start;
  const uint64_t stride = step < 0 ? -static_cast<uint64_t>(step) : static_cast<uint64_t>(step);
  if (span > 0) range.count = static_cast<int64_t>((static_cast<uint64_t>(span) - 1) / stride) + 1;
  return range;
}

std::string_view slice_view(std::string_view text, const SliceRange& range) {
  text.remove_prefix(byte_of(text, static_cast<size_t>(range.start)));
  return text.substr(0, byte_of(text, static_cast<size_t>(range.count)));
}

std::string slice_text(std::string_view text, const SliceRange& range) {
  if (range.count == 0) return {};
  if (range.step == 1) return std::string(slice_view(text, range));
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); i = next_code_point(text, i)) starts.push_back(i);
  std::string out;
  for (int64_t i = 0; i < range.count; ++i) {
    const size_t at = starts[static_cast<size_t>(range.start + i * range.step)];
    out += text.substr(at, next_code_point(text, at) - at);
  }
  return out;
}

std::string_view strip_text(std::string_view text, std::optional<std::string_view> chars, bool left, bool right) {
  const auto stripped = [&](size_t start, size_t end) {
    if (!chars) return is_space(code_point_at(text, start));
    return find_bytes(*chars, text.substr(start, end - start)) != std::string_view::npos;
  };
  while (left && !text.empty()) {
    const size_t end = next_code_point(text, 0);
    if (!stripped(0, end)) break;
    text.remove_prefix(end);
  }
  while (right && !text.empty()) {
    const size_t start = previous_code_point(text, text.size());
    if (!stripped(start, text.size())) break;
    text = text.substr(0, start);
  }
  return text;
}

std::vector<std::string_view> split_words(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::string_view> words;
  for (text = strip_text(text, std::nullopt, !from_right, from_right); !text.empty();
       text = strip_text(text, std::nullopt, !from_right, from_right)) {
    if (limit == 0) {
      words.push_back(text);  // with the white space at its far end
      break;
    }
    --limit;
    size_t cut = from_right ? text.size() : 0;
    if (from_right) {
      for (size_t start = cut; start > 0; cut = start) {
        start = previous_code_point(text, cut);
        if (is_space(code_point_at(text, start))) break;
      }
      words.push_back(text.substr(cut));
      text = text.substr(0, cut);
    } else {
      while (cut < text.size() && !is_space(code_point_at(text, cut))) cut = next_code_point(text, cut);
      words.push_back(text.substr(0, cut));
      text.remove_prefix(cut);
    }
  }
  if (from_right) std::ranges::reverse(words);
  return words;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, int64_t limit,
                                       bool from_right) {
  std::vector<std::string_view> parts;
  if (!from_right) {
    for (size_t at = find_bytes(text, separator); limit != 0 && at != std::string_view::npos; --limit) {
      parts.push_back(text.substr(0, at));
      text.remove_prefix(at + separator.size());
      at = find_bytes(text, separator);
    }
    parts.push_back(text);
    return parts;
  }
  // The search from the right is the search in the reversed bytes: a match there is a match here.
  const std::string backward = reversed_bytes(text);
  const std::string needle = reversed_bytes(separator);
  size_t from = 0;
  for (size_t at = find_bytes(backward, needle); limit != 0 && at != std::string_view::npos; --limit) {
    parts.push_back(text.substr(text.size() - at, at - from));
    from = at + needle.size();
    at = find_bytes(backward, needle, from);
  }
  parts.push_back(text.substr(0, text.size() - from));
  std::ranges::reverse(parts);
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t end = line_end_length(text, i);
    if (end == 0) {
      i = next_code_point(text, i);
      continue;
    }
    lines.push_back(text.substr(start, i - start + (keep_ends ? end : 0)));
    start = i += end;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

std::string upper_text(std::string_view text) {
  return map_code_points(text, [](std::string& out, size_t, char32_t c) { append_upper(out, c); });
}

std::string lower_text(std::string_view text) {
  return map_code_points(text, [text](std::string& out, size_t at, char32_t c) { append_lower_at(out, text, at, c); });
}

std::string title_text(std::string_view text) {
  bool in_word = false;
  return map_code_points(text, [&](std::string& out, size_t at, char32_t c) {
    in_word ? append_lower_at(out, text, at, c) : append_title(out, c);
    in_word = is_cased(c);
  });
}

std::string capitalize_text(std::string_view text) {
  return map_code_points(text, [text](std::string& out, size_t at, char32_t c) {
    at == 0 ? append_title(out, c) : append_lower_at(out, text, at, c);
  });
}

std::string swap_case(std::string_view text) {
  return map_code_points(text, [text](std::string& out, size_t at, char32_t c) {
    if (is_upper(c)) return append_lower_at(out, text, at, c);
    is_lower(c) ? append_upper(out, c) : utf8_append(out, c);
  });
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

bool is_upper_text(std::string_view text) {
  bool any = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = utf8_decode(text, i);
    if (is_lower(c) || is_title(c)) return false;
    any = any || is_upper(c);
  }
  return any;
}

bool is_lower_text(std::string_view text) {
  bool any = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = utf8_decode(text, i);
    if (is_upper(c) || is_title(c)) return false;
    any = any || is_lower(c);
  }
  return any;
}

bool is_title_text(std::string_view text) {
  bool any = false, in_word = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = utf8_decode(text, i);
    if (is_upper(c) || is_title(c)) {
      if (in_word) return false;
      any = in_word = true;
    } else if (is_lower(c)) {
      if (!in_word) return false;
      any = true;
    } else {
      in_word = false;
    }
  }
  return any;
}

}  // namespace arc::jinja
