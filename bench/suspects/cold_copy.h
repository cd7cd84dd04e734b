// Copying the data of a sparse file into a new file, with what may be asked of the page cache.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"

namespace lamina::bench {

/// RWF_DONTCACHE, Linux 6.14; newer than the headers that this is built with.
inline constexpr int kDontCache = 0x80;

struct CopyWay {
  std::string name;
  int open_flags = 0;           ///< besides, of both files
  int transfer_flags = 0;       ///< of preadv2 and pwritev2
  bool advises_random = false;  ///< POSIX_FADV_RANDOM for the source
  bool announces = false;       ///< runs of the source are announced (WILLNEED) 32 ahead
  bool drops_behind = false;    ///< what has been copied is dropped from the cache
};

/// The data of the first `bytes` of `source`, without its holes, to the new file `target`, synced.
Status copy_data(const std::string& source, std::uint64_t bytes, const std::string& target,
                 const CopyWay& way);

}  // namespace lamina::bench
