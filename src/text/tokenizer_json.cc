#include "text/tokenizer_json.h"

#include <iterator>
#include <optional>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

constexpr size_t kMaxFileBytes = size_t{128} << 20;
constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxValues = size_t{1} << 20;  // outside of the two large sections
constexpr size_t kMaxMerges = size_t{1} << 22;

[[noreturn]] void fail(std::string_view what) {
  throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer.json {}", what));
}

// Gets the parser's events one by one, and keeps what they say where it belongs.
class Reader : public nlohmann::json_sax<FileJson> {
 public:
  explicit Reader(TokenizerJson& file) : file_(file) {}

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_float(double value, const std::string&) override { return number(value); }
  bool binary(FileJson::binary_t&) override { return false; }
  bool number_integer(int64_t value) override { return number(value); }
  bool number_unsigned(uint64_t value) override {
    return section_ == Section::vocabulary ? vocabulary_entry(value) : number(value);
  }
  bool string(std::string& value) override {
    if (section_ == Section::merges) return merge_text(value);
    if (section_ != Section::scored) return scalar(std::move(value));
    if (!in_pair_ || !pair_.empty()) return no_scored();
    pair_.push_back(std::move(value));
    return true;
  }

  bool start_object(size_t) override {
    if (section_ == Section::document && at("vocab")) {
      section_ = Section::vocabulary;
      return true;
    }
    return open(FileJson::object());
  }
  bool key(std::string& text) override {
    keys_.back() = std::move(text);
    return true;
  }
  bool end_object() override { return close(Section::vocabulary); }

  bool start_array(size_t) override {
    if ((section_ == Section::merges || section_ == Section::scored) && !in_pair_) {
      in_pair_ = true;
      pair_.clear();
      score_.reset();
      return true;
    }
    if (section_ == Section::document && at("merges")) {
      section_ = Section::merges;
      file_.has_merges = true;
      return true;
    }
    if (section_ == Section::document && at("vocab")) {
      section_ = Section::scored;
      return true;
    }
    return open(FileJson::array());
  }
  bool end_array() override {
    if (!in_pair_) return close(section_ == Section::scored ? Section::scored : Section::merges);
    in_pair_ = false;
    if (section_ == Section::scored) return scored_entry();
    if (pair_.size() != 2) no_merge();
    return merge_entry(std::move(pair_[0]), std::move(pair_[1]));
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    fail(fmt::format("is not valid JSON: {}", error.what()));
  }

 private:
  enum class Section { document, vocabulary, scored, merges };

  [[noreturn]] static bool no_merge() { fail("has an entry of `merges` that is no pair of texts"); }
  [[noreturn]] static bool no_scored() { fail("has an entry of `vocab` that is no pair of a text and a score"); }

  bool at(std::string_view section) const { return keys_.size() == 2 && keys_[0] == "model" && keys_[1] == section; }

  FileJson& add(FileJson value) {
    if (section_ == Section::vocabulary) fail("has a `vocab` that does not map texts to ids");
    if (section_ == Section::merges) no_merge();
    if (section_ == Section::scored) no_scored();
    if (++n_values_ > kMaxValues) fail(fmt::format("has more than {} values outside its vocabulary", kMaxValues));
    if (open_.empty()) return file_.document = std::move(value);
    FileJson& parent = *open_.back();
    if (parent.is_object()) return parent[keys_.back()] = std::move(value);
    parent.push_back(std::move(value));
    return parent.back();
  }
  bool scalar(FileJson value) {
    add(std::move(value));
    return true;
  }
  bool open(FileJson container) {
    if (open_.size() >= kMaxDepth) fail(fmt::format("nests deeper than {} levels", kMaxDepth));
    open_.push_back(&add(std::move(container)));
    keys_.emplace_back();
    return true;
  }
  bool close(Section closing) {
    if (section_ == closing) {
      section_ = Section::document;
      return true;
    }
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  template <typename Number>
  bool number(Number value) {
    if (section_ != Section::scored) return scalar(value);
    if (!in_pair_ || pair_.empty() || score_) return no_scored();
    score_ = static_cast<double>(value);
    return true;
  }
  bool scored_entry() {
    if (!score_) return no_scored();
    check_n_tokens(file_.scored.size());
    file_.scored.emplace_back(std::move(pair_[0]), *score_);
    return true;
  }

  static void check_n_tokens(size_t n) {
    if (n >= size_t{kMaxTokens}) fail(fmt::format("has more than {} tokens", kMaxTokens));
  }
  bool vocabulary_entry(uint64_t id) {
    check_n_tokens(file_.vocabulary.size());
    file_.vocabulary.emplace_back(keys_.back(), static_cast<int64_t>(id));
    return true;
  }
  // A member of [left, right], or "left right" as older files have it.
  bool merge_text(std::string& text) {
    if (in_pair_) {
      if (pair_.size() == 2) no_merge();
      pair_.push_back(std::move(text));
      return true;
    }
    if (text.starts_with("#version")) return true;
    const size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) {
      fail(fmt::format("has a merge `{}` that is not two texts with one space between", text));
    }
    return merge_entry(text.substr(0, space), text.substr(space + 1));
  }
  bool merge_entry(std::string left, std::string right) {
    if (file_.merges.size() >= kMaxMerges) fail(fmt::format("has more than {} merges", kMaxMerges));
    file_.merges.emplace_back(std::move(left), std::move(right));
    return true;
  }

  TokenizerJson& file_;
  std::vector<FileJson*> open_;    // containers of the document
  std::vector<std::string> keys_;  // the key that each is at; empty in arrays
  Section section_ = Section::document;
  bool in_pair_ = false;
  std::vector<std::string> pair_;
  std::optional<double> score_;
  size_t n_values_ = 0;
};

}  // namespace

TokenizerJson parse_tokenizer_json(std::string_view text) {
  if (text.size() > kMaxFileBytes) fail(fmt::format("is {} bytes long; the limit is {}", text.size(), kMaxFileBytes));
  TokenizerJson file;
  Reader reader(file);
  FileJson::sax_parse(text.begin(), text.end(), &reader);
  return file;
}

}  // namespace arc
