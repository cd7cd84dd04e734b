// Reports as structs of C: the one place where each is converted.
//
// Each function takes the C++ struct apart by a structured binding, so a field that is added to the
// C++ struct stops the compiler until it has a place here and in lamina.h.
#pragma once

#include "capi/results.h"
#include "lamina.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/inspect.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lamina/live_fork.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/pack.h"
#include "lamina/remote.h"
#include "lamina/remote_keys.h"
#include "lamina/remove.h"
#include "lamina/repair.h"
#include "lamina/verify.h"

namespace lamina::capi {

// The arrays and structs are made in `arena`; the strings stay in the report, which must outlive
// `described`.
void describe(Arena& arena, const std::vector<std::string>& lines, lamina_lines& described);
void describe(Arena& arena, const std::string& text, lamina_text& described);
void describe(Arena& arena, const IngestReport& report, lamina_ingest_report& described);
void describe(Arena& arena, const MergeReport& report, lamina_merge_report& described);
void describe(Arena& arena, const CompactReport& report, lamina_compact_report& described);
void describe(Arena& arena, const MaterializeReport& report, lamina_materialize_report& described);
void describe(Arena& arena, const VerifyReport& report, lamina_verify_report& described);
void describe(Arena& arena, const LayerInfo& layer, lamina_layer& described);
void describe(Arena& arena, const PauseRecord& record, lamina_pause_record& described);
void describe(Arena& arena, const ResumeCoverage& coverage, lamina_resume_coverage& described);
void describe(Arena& arena, const SnapshotInfo& info, lamina_snapshot_info& described);
void describe(Arena& arena, const SnapshotListing& listing, lamina_snapshot_listing& described);
void describe(Arena& arena, const PinListing& listing, lamina_pin_listing& described);
void describe(Arena& arena, const PendingListing& listing, lamina_pending_listing& described);
void describe(Arena& arena, const MapListing& listing, lamina_map_listing& described);
void describe(Arena& arena, const StoreListing& listing, lamina_listing& described);
void describe(Arena& arena, const RepairReport& report, lamina_repair_report& described);
void describe(Arena& arena, const ForkReport& report, lamina_fork_report& described);
void describe(Arena& arena, const RemovedSnapshot& removed, lamina_removed_snapshot& described);
void describe(Arena& arena, const RemoveReport& report, lamina_remove_report& described);
void describe(Arena& arena, const PauseReport& report, lamina_pause_report& described);
void describe(Arena& arena, const ResumeReport& report, lamina_resume_report& described);
void describe(Arena& arena, const LiveClone& clone, lamina_live_clone& described);
void describe(Arena& arena, const LiveForkReport& report, lamina_live_fork_report& described);
void describe(Arena& arena, const ArrivalReport& arrival, lamina_arrival& described);
void describe(Arena& arena, const RecoverReport& report, lamina_recover_report& described);
void describe(Arena& arena, const PackReport& report, lamina_pack_report& described);
void describe(Arena& arena, const UnpackReport& report, lamina_unpack_report& described);
void describe(Arena& arena, const PushReport& report, lamina_push_report& described);
void describe(Arena& arena, const PullReport& report, lamina_pull_report& described);
void describe(Arena& arena, const LazyPullReport& report, lamina_begin_pull_report& described);
void describe(Arena& arena, const FetchReport& report, lamina_fetch_report& described);
void describe(Arena& arena, const RemoteListing& listing, lamina_remote_listing& described);
void describe(Arena& arena, const RemoteListReport& report, lamina_remote_list_report& described);
void describe(Arena& arena, const RemoteRemoveReport& report,
              lamina_remote_remove_report& described);
void describe(Arena& arena, const PruneReport& report, lamina_prune_report& described);
void describe(Arena& arena, const KeyedState& state, lamina_keyed_state& described);
void describe(Arena& arena, const RemoteKeyUse& use, lamina_remote_key& described);
void describe(Arena& arena, const RemoteKeysReport& report,
              lamina_remote_key_list_report& described);
void describe(Arena& arena, const RotateKeyReport& report,
              lamina_remote_key_rotate_report& described);
void describe(Arena& arena, const DestroyKeyReport& report,
              lamina_remote_key_destroy_report& described);

}  // namespace lamina::capi
