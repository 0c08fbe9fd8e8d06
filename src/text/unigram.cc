#include "text/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"

namespace arc {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the lowest score of the vocabulary
constexpr double kRestartSum = 100'000;   // of SentencePiece

}  // namespace

Unigram::Unigram(const std::vector<ScoredToken>& tokens, UnigramOptions options) : options_(options) {
  if (options_.unk_id && (*options_.unk_id < 0 || *options_.unk_id >= static_cast<int64_t>(tokens.size()))) {
    throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer: unk_id {} is not one of the vocabulary's {} tokens",
                                                     *options_.unk_id, tokens.size()));
  }
  std::vector<std::string> texts;
  double lowest = std::numeric_limits<double>::infinity();
  for (const auto& [text, score] : tokens) {
    texts.push_back(text);
    scores_.push_back(score);
    lowest = std::min(lowest, score);
  }
  unk_score_ = options_.unk_score.value_or(lowest - kUnknownPenalty);
  vocabulary_ = Vocabulary::in_order(std::move(texts));
  trie_ = vocabulary_.trie();
  if (options_.byte_fallback) byte_ids_ = vocabulary_.byte_tokens();
}

void Unigram::encode(std::string_view piece, UnigramScratch& scratch, std::vector<int32_t>& ids) const {
  find_best(piece, scratch);
  struct Token {
    size_t begin = 0, end = 0;
    bool unknown = false;
  };
  std::vector<Token> tokens;  // from the last to the first; neighbouring unknown ones are one
  for (size_t end = piece.size(); end > 0;) {
    const auto& [score, id, begin] = scratch.best[end];
    const bool unknown = options_.unk_id && id == *options_.unk_id;
    if (unknown && !tokens.empty() && tokens.back().unknown) {
      tokens.back().begin = static_cast<size_t>(begin);
    } else {
      tokens.push_back({static_cast<size_t>(begin), end, unknown});
    }
    end = static_cast<size_t>(begin);
  }
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
    append(piece.substr(token->begin, token->end - token->begin), token->unknown, ids);
  }
}

// Of ways with equal scores, the one found first stays: its last token is the longer one.
void Unigram::find_best(std::string_view piece, UnigramScratch& scratch) const {
  auto& best = scratch.best;
  best.assign(piece.size() + 1, {});
  size_t frontier = 0;  // the last position with a way
  const auto offer = [&](size_t begin, size_t end, double score) {
    frontier = std::max(frontier, end);
    double sum = best[begin].score + score;
    if (options_.as_sentencepiece) sum = static_cast<float>(sum);
    if (best[end].begin >= 0 && !(sum > best[end].score)) return false;
    best[end].score = sum;
    best[end].begin = static_cast<int32_t>(begin);
    return true;
  };
  for (size_t begin = 0, next = 0; begin < piece.size(); begin = next) {
    utf8_decode(piece, next);
    if (const double start = best[begin].score; options_.as_sentencepiece && std::abs(start) > kRestartSum) {
      for (size_t i = begin; i <= frontier; ++i) best[i].score = static_cast<float>(best[i].score - start);
    }
    bool has_character = false;
    int32_t node = Trie::kRoot;
    for (size_t end = begin; end < piece.size();) {
      node = trie_.step(node, piece[end++]);
      if (node == Trie::kNowhere) break;
      const int32_t id = trie_.value(node);
      if (id < 0 || std::isnan(scores_[static_cast<size_t>(id)])) continue;
      if (offer(begin, end, scores_[static_cast<size_t>(id)])) best[end].id = id;
      has_character = has_character || end == next;
    }
    if (has_character || !offer(begin, next, unk_score_)) continue;
    if (!options_.unk_id) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the tokenizer has no token for `{}`, and none for unknown characters",
                              piece.substr(begin, next - begin)));
    }
    best[next].id = static_cast<int32_t>(*options_.unk_id);
  }
}

void Unigram::append(std::string_view text, bool unknown, std::vector<int32_t>& ids) const {
  const bool stays_unknown = unknown && options_.as_sentencepiece;
  if (const auto id = stays_unknown ? std::nullopt : vocabulary_.find(text)) return ids.push_back(*id);
  const auto byte_id = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
  if (!byte_ids_.empty() && std::ranges::all_of(text, [&](char byte) { return byte_id(byte) >= 0; })) {
    for (const char byte : text) ids.push_back(byte_id(byte));
  } else {
    ids.push_back(static_cast<int32_t>(*options_.unk_id));  // only unknown characters come here
  }
}

}  // namespace arc
