#include "text/tekken.h"

#include <algorithm>
#include <array>

#include "fmt/format.h"

#include "base/error.h"
#include "text/base64.h"
#include "text/tiktoken.h"

namespace arc {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;

// Of the first files, which do not list them.
constexpr std::array kFirstSpecials = {"<unk>",
                                       "<s>",
                                       "</s>",
                                       "[INST]",
                                       "[/INST]",
                                       "[AVAILABLE_TOOLS]",
                                       "[/AVAILABLE_TOOLS]",
                                       "[TOOL_RESULTS]",
                                       "[/TOOL_RESULTS]",
                                       "[TOOL_CALLS]",
                                       "[IMG]",
                                       "<pad>",
                                       "[IMG_BREAK]",
                                       "[IMG_END]",
                                       "[PREFIX]",
                                       "[MIDDLE]",
                                       "[SUFFIX]",
                                       "[SYSTEM_PROMPT]",
                                       "[/SYSTEM_PROMPT]",
                                       "[TOOL_CONTENT]"};

// The special tokens by id; those that nothing names are <SPECIAL_id>.
std::vector<AddedToken> read_specials(const JsonFields& file, int64_t n_special) {
  std::vector<std::string> names(static_cast<size_t>(n_special));
  const auto set = [&](int64_t id, std::string name) {
    if (id < 0 || id >= n_special) {
      file.fail(fmt::format("special token `{}` has rank {}, not below default_num_special_tokens", name, id));
    }
    names[static_cast<size_t>(id)] = std::move(name);
  };
  if (file.find("special_tokens") != nullptr) {
    for (const FileJson& entry : file.array("special_tokens")) {
      const JsonFields fields(entry, "tekken.json: special_tokens");
      set(fields.integer("rank"), fields.text("token_str"));
    }
  } else {
    for (size_t id = 0; id < kFirstSpecials.size(); ++id) set(static_cast<int64_t>(id), kFirstSpecials[id]);
  }
  std::vector<AddedToken> tokens;
  for (size_t id = 0; id < names.size(); ++id) {
    std::string name = names[id].empty() ? fmt::format("<SPECIAL_{}>", id) : std::move(names[id]);
    if (name.size() > 1024) file.fail(fmt::format("special token {} has {} bytes", id, name.size()));
    tokens.push_back({.id = static_cast<int32_t>(id), .content = std::move(name), .special = true});
  }
  return tokens;
}

// A tekken.json: its vocabulary as a flat list, which as a document would take ten times the file's size.
struct TekkenFile {
  FileJson document;  // `vocab` is empty here
  std::vector<TokenEntry> vocabulary;
};

class Reader {
 public:
  explicit Reader(std::string_view text) {
    try {
      file_.document = FileJson::parse(text, [this](int depth, FileJson::parse_event_t event, FileJson& value) {
        return keep(depth, event, value);
      });
    } catch (const FileJson::exception& e) {
      throw Error(ErrorCode::corrupt_data, fmt::format("tekken.json is not valid JSON: {}", e.what()));
    }
  }
  TekkenFile take() { return std::move(file_); }

 private:
  using Event = FileJson::parse_event_t;

  bool keep(int depth, Event event, const FileJson& value) {
    if (event == Event::key && depth == 1) in_vocabulary_ = value == "vocab";
    const bool in_entry = in_vocabulary_ && depth > 2;
    int& count = in_entry ? n_in_entry_ : n_values_;
    if (++count > (in_entry ? 32 : 1 << 20) || depth > 32) {
      throw Error(ErrorCode::corrupt_data, "tekken.json nests deeper, or has more values, than a tokenizer does");
    }
    if (!in_vocabulary_ || event != Event::object_end || depth != 2) return true;
    const auto rank = static_cast<int64_t>(file_.vocabulary.size());
    const JsonFields fields(value, fmt::format("tekken.json: vocab[{}]", rank));
    if (rank >= kMaxTokens || fields.integer("rank") != rank) fields.fail("ranks must count up from 0");
    auto bytes = base64_decode(fields.text("token_bytes"));
    if (!bytes) fields.fail("`token_bytes` is no base64");
    file_.vocabulary.emplace_back(std::move(*bytes), rank);
    n_in_entry_ = 0;
    n_values_ -= 2;  // where the entry began and ended
    return false;
  }

  TekkenFile file_;
  bool in_vocabulary_ = false;
  int n_values_ = 0, n_in_entry_ = 0;
};

}  // namespace

TokenizerParts read_tekken(std::string_view text) {
  if (text.size() > kMaxFileBytes) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("tekken.json has {} bytes; the limit is {}", text.size(), kMaxFileBytes));
  }
  auto [document, vocabulary] = Reader(text).take();
  const JsonFields file(document, "tekken.json");
  const JsonFields config(file.at("config"), "tekken.json: config");
  const int64_t n_special = config.integer("default_num_special_tokens"), n_all = config.integer("default_vocab_size");
  if (n_special < 3 || n_special > n_all || n_all > kMaxTokens) {
    config.fail(fmt::format("{} special tokens of {} cannot be", n_special, n_all));
  }
  const auto n_tokens = static_cast<size_t>(n_all - n_special);
  if (n_tokens > vocabulary.size()) {
    config.fail(fmt::format("asks for {} tokens beside the special ones; `vocab` has {}", n_tokens, vocabulary.size()));
  }
  vocabulary.resize(n_tokens);
  TokenizerParts parts = tokenizer_of_ranks(vocabulary, static_cast<int32_t>(n_special), config.text("pattern"),
                                            read_specials(file, n_special));
  const auto id_of = [&](std::string_view name) -> std::optional<int32_t> {
    const auto found = std::ranges::find(parts.added_tokens, name, &AddedToken::content);
    return found == parts.added_tokens.end() ? std::nullopt : std::optional(found->id);
  };
  parts.special = {.bos = id_of("<s>"), .eos = id_of("</s>"), .pad = id_of("<pad>"), .unk = id_of("<unk>"), .stop = {}};
  if (parts.special.eos) parts.special.stop = {*parts.special.eos};
  if (parts.special.bos) parts.post_processor.before = {*parts.special.bos};
  return parts;
}

}  // namespace arc
