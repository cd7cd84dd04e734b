// Options of C as options of C++: the one place where each is converted.
//
// Each function takes the C++ struct apart by a structured binding, so a field that is added to the
// C++ struct stops the compiler until it has a place here, in lamina.h and in a test.
#pragma once

#include <string>
#include <vector>

#include "capi/option_reader.h"
#include "lamina.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lamina/live_fork.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/pack.h"
#include "lamina/remote.h"
#include "lamina/remote_keys.h"
#include "lamina/remove.h"
#include "lamina/verify.h"

namespace lamina::capi {

// What is wrong with the options is in reader.status(). The result is valid as long as what
// `given` points to, and as `reader`.
IngestOptions convert(OptionReader& reader, const lamina_ingest_options& given);
MergeOptions convert(OptionReader& reader, const lamina_merge_options& given);
CompactOptions convert(OptionReader& reader, const lamina_compact_options& given);
MaterializeOptions convert(OptionReader& reader, const lamina_materialize_options& given);
VerifyOptions convert(OptionReader& reader, const lamina_verify_options& given);
/// Without the path, which is no option in C++.
ListOptions convert(OptionReader& reader, const lamina_list_options& given);
ForkOptions convert(OptionReader& reader, const lamina_fork_options& given);
RemoveOptions convert(OptionReader& reader, const lamina_remove_options& given);
// Without the store, which is the handle.
PauseOptions convert(OptionReader& reader, const lamina_pause_options& given);
ResumeOptions convert(OptionReader& reader, const lamina_resume_options& given);
// Without the stores, which are the handle.
LiveForkOptions convert(OptionReader& reader, const lamina_live_fork_options& given);
RecoverOptions convert(OptionReader& reader, const lamina_recover_options& given);
PackOptions convert(OptionReader& reader, const lamina_pack_options& given);
UnpackOptions convert(OptionReader& reader, const lamina_unpack_options& given);
PushOptions convert(OptionReader& reader, const lamina_push_options& given);
PullOptions convert(OptionReader& reader, const lamina_pull_options& given);
LazyPullOptions convert(OptionReader& reader, const lamina_begin_pull_options& given);
FetchOptions convert(OptionReader& reader, const lamina_fetch_options& given);
RemoteListOptions convert(OptionReader& reader, const lamina_remote_list_options& given);
RemoteRemoveOptions convert(OptionReader& reader, const lamina_remote_remove_options& given);
PruneOptions convert(OptionReader& reader, const lamina_prune_options& given);
RemoteKeysOptions convert(OptionReader& reader, const lamina_remote_key_list_options& given);
RotateKeyOptions convert(OptionReader& reader, const lamina_remote_key_rotate_options& given);
DestroyKeyOptions convert(OptionReader& reader, const lamina_remote_key_destroy_options& given);

}  // namespace lamina::capi
