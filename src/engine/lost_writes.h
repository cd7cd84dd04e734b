// Recovery after a sync that failed, or whose result is unknown.
//
// The kernel reports a failed write only once and then treats the pages as written: a second sync
// of the file succeeds without writing anything. So neither the file's contents nor a later sync
// shows what is on the disk; reading with O_DIRECT does.
//
// Overwriting the file with its own bytes does not always help: ext4 considers the allocated blocks
// written, and they read as zeros after a reboot. So the cached contents are written to a new file.
// They are first compared with the checksums computed earlier, because they may be lost too.
#pragma once

#include <string>

#include "engine/layer.h"
#include "lamina/result.h"

namespace lamina::engine {

/// True if the data of an adopted layer on the disk matches its checksums; `name` in `directory` is
/// its file. False if it does not, or cannot be read with O_DIRECT. Unsynced data counts as
/// missing. REQUIRES: the layer's checksums were loaded.
bool is_on_disk(const Layer& layer, int directory, const std::string& name);

/// Writes the memory file that the adopted layer was created from to the empty file `destination`:
/// stored blocks, written zeros, and holes, without the trailer. Not synced. kCorrupt if a block
/// does not match its checksum or is not zero as listed: then data was lost. REQUIRES: the layer's
/// checksums were loaded.
Status rewrite_memory_file(const Layer& layer, int destination, const std::string& path);

}  // namespace lamina::engine
