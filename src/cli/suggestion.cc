#include "cli/suggestion.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace lamina::cli {
namespace {

/// Damerau-Levenshtein distance restricted to neighbours (optimal string alignment).
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<std::size_t>> rows(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  std::iota(rows[0].begin(), rows[0].end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    rows[i][0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitution = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      rows[i][j] = std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.size()][b.size()];
}

}  // namespace

std::optional<std::string> suggest(const std::string& word,
                                   const std::vector<std::string>& candidates) {
  constexpr std::size_t kMaxWordBytes = 64;
  constexpr std::size_t kMaxMistakes = 2;
  if (word.size() > kMaxWordBytes) return std::nullopt;
  std::optional<std::string> best;
  std::size_t best_distance = std::min(kMaxMistakes, word.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t mistakes = distance(word, candidate);
    if (mistakes >= best_distance) continue;
    best_distance = mistakes;
    best = candidate;
  }
  return best;
}

}  // namespace lamina::cli
