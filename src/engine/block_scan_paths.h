#pragma once

#include "engine/block_scan.h"

namespace lamina::engine {

ScanPath portable_scan_path();
/// Only where LAMINA_HAVE_AVX2_PATH is defined, and only to be run on a CPU with AVX2.
ScanPath avx2_scan_path();

}  // namespace lamina::engine
