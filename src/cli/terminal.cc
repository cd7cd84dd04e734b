#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

namespace lamina::cli {
namespace {

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing changes it
  return value == nullptr ? std::string_view() : std::string_view(value);
}

/// As the C library chooses the locale of characters.
bool is_utf8_locale() {
  std::string_view locale;
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    if (locale.empty()) locale = variable(name);
  }
  std::string lower(locale);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter + ('a' - 'A'))
                                          : static_cast<char>(letter);
  });
  return lower.find("utf-8") != std::string::npos || lower.find("utf8") != std::string::npos;
}

}  // namespace

Terminal terminal_of(int fd) {
  Terminal terminal;
  terminal.is_terminal = ::isatty(fd) == 1;
  if (!terminal.is_terminal) return terminal;
  const std::string_view kind = variable("TERM");
  terminal.has_color = variable("NO_COLOR").empty() && !kind.empty() && kind != "dumb";
  terminal.has_unicode = is_utf8_locale();
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    terminal.columns = size.ws_col;
    terminal.rows = size.ws_row;
  }
  return terminal;
}

std::string bar_of(double part, double whole, int cells, bool has_unicode) {
  constexpr std::array<const char*, 8> kEighths = {"█", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  constexpr int kParts = 8;
  if (part <= 0 || whole <= 0) return {};
  const double share = std::min(1.0, part / whole);
  std::string bar;
  if (!has_unicode) {
    bar.assign(static_cast<std::size_t>(std::max(1, static_cast<int>(share * cells))), '#');
    return bar;
  }
  const int eighths = std::max(1, static_cast<int>(share * cells * kParts));
  for (int i = 0; i < eighths / kParts; ++i) bar += kEighths[0];
  if (eighths % kParts > 0) bar += kEighths.at(static_cast<std::size_t>(eighths % kParts));
  return bar;
}

}  // namespace lamina::cli
