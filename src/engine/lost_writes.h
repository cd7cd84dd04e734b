// After a sync that failed, or whose outcome nobody knows any more.
//
// The kernel reports a failed write once and takes the pages for written from then on: a second
// sync of the file succeeds and has written nothing. So what a file reads as does not tell what is
// on the disk, and no later sync does. Reading around the page cache does.
//
// Writing the bytes onto themselves does not help everywhere: ext4 takes blocks that it has
// allocated for written, and they go on reading as zeros after a restart. So what is only cached is
// written into a new file, after it was compared with the checksums that were taken before: it may
// be gone by now, too.
#pragma once

#include <string>

#include "engine/layer.h"
#include "lamina/result.h"

namespace lamina::engine {

/// True when the disk has what the checksums of an adopted layer say, `name` in `directory` being
/// its file; false when not, or when that cannot be found out. What has not been synced counts as
/// not there. REQUIRES: the layer's checksums were loaded.
bool is_on_disk(const Layer& layer, int directory, const std::string& name);

/// Writes the memory file that the adopted layer was made of into the empty file `destination`:
/// stored blocks, zeros where zeros are data, and holes; without its trailer. Not synced. kCorrupt
/// when a block is not what its checksum says, or not zeros: then some of it has been lost.
/// REQUIRES: the layer's checksums were loaded.
Status write_anew(const Layer& layer, int destination, const std::string& path);

}  // namespace lamina::engine
