// The words for the values of an enum on the command line, in JSON and in records. Each table is
// beside its enum.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace lamina {

/// One value and its word.
template <typename E>
struct Word {
  std::string_view text;
  E value;
};

/// The words of E, in the order in which a help text lists them. A value without a word is a
/// default that is never written.
template <typename E>
inline constexpr std::array<Word<E>, 0> kWords{};

/// The word for `value`; "unknown" if it has none.
template <typename E>
constexpr std::string_view word_of(E value) {
  for (const Word<E>& word : kWords<E>) {
    if (word.value == value) return word.text;
  }
  return "unknown";
}

/// The value whose word is `text`; nullopt if there is none.
template <typename E>
constexpr std::optional<E> value_of(std::string_view text) {
  for (const Word<E>& word : kWords<E>) {
    if (word.text == text) return word.value;
  }
  return std::nullopt;
}

}  // namespace lamina
