// Manual pages in man(7)'s macros.
#pragma once

#include <string>

#include "manual/program.h"

namespace lamina::manual {

/// Version and date in the head and foot of each page.
struct Edition {
  std::string version;  ///< "0.2.0"
  std::string date;     ///< of the release, so that pages of the same sources are the same
};

/// The page of a program: lamina.1 with its verbs, or laminad.8.
std::string program_page(const Program& program, const std::string& section,
                         const Edition& edition);

/// The page of one verb: lamina-ingest.1.
std::string verb_page(const Program& program, const Command& verb, const Edition& edition);

}  // namespace lamina::manual
