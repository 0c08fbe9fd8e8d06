// Python's str operations on UTF-8. Positions are code points; every text is valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace arc::jinja {

size_t count_code_points(std::string_view text);
size_t next_code_point(std::string_view text, size_t byte);  // the byte offset after the one that starts at `byte`
size_t byte_of(std::string_view text, size_t index);         // the byte offset of code point `index`

// std::string_view::find in linear time whatever the texts.
size_t find_bytes(std::string_view text, std::string_view needle, size_t from = 0);
size_t count_bytes(std::string_view text, std::string_view needle);  // not overlapping; empty: code points + 1
// Where those are, at most `limit` of them, any number when negative.
std::vector<size_t> find_all(std::string_view text, std::string_view needle, int64_t limit);

// A Python slice over `length` items: `count` positions from `start` towards `stop`, `step` apart.
struct SliceRange {
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;
  int64_t count = 0;
};
SliceRange slice_range(int64_t length, std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step);
std::string_view slice_view(std::string_view text, const SliceRange& range);  // with step 1
std::string slice_text(std::string_view text, const SliceRange& range);

// Characters of `chars`, white space when absent, taken off the ends.
std::string_view strip_text(std::string_view text, std::optional<std::string_view> chars, bool left, bool right);

// str.split and str.rsplit; at most `limit` cuts, any number when negative.
std::vector<std::string_view> split_words(std::string_view text, int64_t limit, bool from_right);
std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, int64_t limit,
                                       bool from_right);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

std::string upper_text(std::string_view text);
std::string lower_text(std::string_view text);
std::string title_text(std::string_view text);
std::string capitalize_text(std::string_view text);
std::string swap_case(std::string_view text);
std::string escape_html(std::string_view text);

// str.isupper, str.islower, str.istitle.
bool is_upper_text(std::string_view text);
bool is_lower_text(std::string_view text);
bool is_title_text(std::string_view text);

}  // namespace arc::jinja
