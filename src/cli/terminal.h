// What the terminal of an output can show.
#pragma once

#include <string>

namespace lamina::cli {

struct Terminal {
  bool is_terminal = false;
  bool has_color = false;    ///< not with $NO_COLOR (no-color.org) or TERM=dumb
  bool has_unicode = false;  ///< its locale is UTF-8
  int columns = 80;
  int rows = 24;
};

/// Of the file descriptor `fd`, from its window and the environment.
Terminal terminal_of(int fd);

/// `part` of `whole` as a bar of at most `cells` characters; blocks of eighths with `has_unicode`,
/// else '#'. Any part that is not 0 is at least one character.
std::string bar_of(double part, double whole, int cells, bool has_unicode);

}  // namespace lamina::cli
