#pragma once

#include <cstdint>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// An empty unnamed file on huge pages (memfd_create(2), MFD_HUGETLB). `page_bytes`: their size, a
/// power of two, or 0 for the host's default, which it is set to. write(2) does not work on such a
/// file, only a mapping does. kUnsupported if the host has no pages of that size.
Result<Fd> make_huge_memory_file(const char* name, std::uint64_t& page_bytes);

}  // namespace lamina::os
