#pragma once

#include "bench.h"
#include "lamina/result.h"
#include "machine_facts.h"

namespace lamina::bench {

/// The table, for people, on standard output.
void print_table(const Bench& bench, const MachineFacts& machine);

/// Everything, every sample included, as JSON in the file `path`.
Status write_json(const Bench& bench, const MachineFacts& machine, const std::string& path);

}  // namespace lamina::bench
