// Code generated from docs/openapi.json; DO NOT EDIT. 'go generate ./lamina' updates it.

package lamina

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Kind says what kind of failure an error is. errors.Is(err, KindBusy) tells whether an error
// is of a kind. A newer daemon may have others.
type Kind string

const (
	KindFailed      Kind = "failed"
	KindUsage       Kind = "usage"
	KindNotFound    Kind = "not_found"
	KindExists      Kind = "exists"
	KindPermission  Kind = "permission"
	KindUnsupported Kind = "unsupported"
	KindCorrupt     Kind = "corrupt"
	KindBusy        Kind = "busy"
	KindNoSpace     Kind = "no_space"
	KindInterrupted Kind = "interrupted"
)

// EventKind is one of the words below. A newer daemon may have others.
type EventKind string

const (
	EventKindPause    EventKind = "pause"
	EventKindResume   EventKind = "resume"
	EventKindMerge    EventKind = "merge"
	EventKindDelete   EventKind = "delete"
	EventKindFork     EventKind = "fork"
	EventKindForkLive EventKind = "fork_live"
	EventKindRecover  EventKind = "recover"
	EventKindPush     EventKind = "push"
	EventKindPull     EventKind = "pull"
	EventKindPrune    EventKind = "prune"
	EventKindEvict    EventKind = "evict"
)

// PauseAfter is one of the words below. A newer daemon may have others.
type PauseAfter string

const (
	PauseAfterStop   PauseAfter = "stop"
	PauseAfterResume PauseAfter = "resume"
	PauseAfterStay   PauseAfter = "stay"
)

// PauseKind is one of the words below. A newer daemon may have others.
type PauseKind string

const (
	PauseKindDiff PauseKind = "diff"
	PauseKindFull PauseKind = "full"
)

// PausePlace is one of the words below. A newer daemon may have others.
type PausePlace string

const (
	PausePlaceDisk   PausePlace = "disk"
	PausePlaceMemory PausePlace = "memory"
)

// ResumeMode is one of the words below. A newer daemon may have others.
type ResumeMode string

const (
	ResumeModeAuto ResumeMode = "auto"
	ResumeModeUffd ResumeMode = "uffd"
	ResumeModeFile ResumeMode = "file"
)

// ResumePopulate is one of the words below. A newer daemon may have others.
type ResumePopulate string

const (
	ResumePopulateNone       ResumePopulate = "none"
	ResumePopulateWorkingSet ResumePopulate = "working-set"
	ResumePopulateAll        ResumePopulate = "all"
)

// ResumeHugePages is one of the words below. A newer daemon may have others.
type ResumeHugePages string

const (
	ResumeHugePagesAsBefore    ResumeHugePages = "as-before"
	ResumeHugePagesNone        ResumeHugePages = "none"
	ResumeHugePagesTransparent ResumeHugePages = "transparent"
	ResumeHugePages2M          ResumeHugePages = "2M"
)

// ForkLiveAfter is one of the words below. A newer daemon may have others.
type ForkLiveAfter string

const (
	ForkLiveAfterStop   ForkLiveAfter = "stop"
	ForkLiveAfterResume ForkLiveAfter = "resume"
	ForkLiveAfterStay   ForkLiveAfter = "stay"
)

// ForkLiveMode is one of the words below. A newer daemon may have others.
type ForkLiveMode string

const (
	ForkLiveModeAuto ForkLiveMode = "auto"
	ForkLiveModeUffd ForkLiveMode = "uffd"
	ForkLiveModeFile ForkLiveMode = "file"
)

// ForkLivePopulate is one of the words below. A newer daemon may have others.
type ForkLivePopulate string

const (
	ForkLivePopulateNone       ForkLivePopulate = "none"
	ForkLivePopulateWorkingSet ForkLivePopulate = "working-set"
	ForkLivePopulateAll        ForkLivePopulate = "all"
)

// ForkLiveHugePages is one of the words below. A newer daemon may have others.
type ForkLiveHugePages string

const (
	ForkLiveHugePagesAsBefore    ForkLiveHugePages = "as-before"
	ForkLiveHugePagesNone        ForkLiveHugePages = "none"
	ForkLiveHugePagesTransparent ForkLiveHugePages = "transparent"
	ForkLiveHugePages2M          ForkLiveHugePages = "2M"
)

// ListingPendingKind is one of the words below. A newer daemon may have others.
type ListingPendingKind string

const (
	ListingPendingKindPause  ListingPendingKind = "pause"
	ListingPendingKindIngest ListingPendingKind = "ingest"
	ListingPendingKindOther  ListingPendingKind = "other"
)

// PauseRecordKind is one of the words below. A newer daemon may have others.
type PauseRecordKind string

const (
	PauseRecordKindDiff PauseRecordKind = "diff"
	PauseRecordKindFull PauseRecordKind = "full"
)

// SnapshotHeader is one of the words below. A newer daemon may have others.
type SnapshotHeader string

const (
	SnapshotHeaderNative SnapshotHeader = "native"
	SnapshotHeaderV1     SnapshotHeader = "v1"
	SnapshotHeaderV3     SnapshotHeader = "v3"
)

// CompactOutcome is one of the words below. A newer daemon may have others.
type CompactOutcome string

const (
	CompactOutcomeNothing CompactOutcome = "nothing"
	CompactOutcomePlanned CompactOutcome = "planned"
	CompactOutcomeMerged  CompactOutcome = "merged"
	CompactOutcomeDropped CompactOutcome = "dropped"
)

// QueuedPushState is one of the words below. A newer daemon may have others.
type QueuedPushState string

const (
	QueuedPushStateWaiting QueuedPushState = "waiting"
	QueuedPushStatePushing QueuedPushState = "pushing"
	QueuedPushStateFailed  QueuedPushState = "failed"
)

// PushCodec is one of the words below. A newer daemon may have others.
type PushCodec string

const (
	PushCodecZstd PushCodec = "zstd"
	PushCodecLz4  PushCodec = "lz4"
	PushCodecNone PushCodec = "none"
)

// ListParams are the parameters of List. The zero value is the default.
type ListParams struct {
	// Also the snapshots as trees of descent
	Tree bool
}

// RemoveParams are the parameters of Remove. The zero value is the default.
type RemoveParams struct {
	// Change nothing, report what would be removed
	DryRun bool
	// Only if the snapshot has the state of this pause; else 404
	PauseID string
}

// EventsParams are the parameters of Events. The zero value is the default.
type EventsParams struct {
	// Only events with a larger sequence number
	After int64
}

// errorFields is a part of errorBody.
type errorFields struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
	// What can be done about it, where that is known. In backquotes: fields of the request, as
	// `name` or `name=value`
	Remedy string `json:"remedy,omitempty"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes []string `json:"notes"`
	// Only with 503, if the daemon is stopping: nothing was begun
	Stopping bool `json:"stopping,omitempty"`
}

// errorBody is the body of a failure.
type errorBody struct {
	Error errorFields `json:"error"`
}

// ItemError is a part of a report.
type ItemError struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
	// What can be done about it, where that is known. In backquotes: fields of the request, as
	// `name` or `name=value`
	Remedy   string `json:"remedy,omitempty"`
	ExitCode int    `json:"exit_code"`
}

// EventHead: has the fields of the operation's report; after a failure outcome, kind and
// message.
type EventHead struct {
	// One more than the last; it also grows across restarts of the daemon
	Sequence int64     `json:"sequence"`
	Time     time.Time `json:"time"`
	Event    EventKind `json:"event"`
}

// PauseRequest is the body of Pause.
type PauseRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// Firecracker's API socket
	APISocket string `json:"api_socket"`
	// Firecracker's root (the jailer's chroot), as the daemon sees it
	Jail string `json:"jail,omitempty"`
	// Seconds: for short replies of Firecracker. Default: 30
	Timeout int `json:"timeout,omitempty"`
	// Of the snapshot
	Name string `json:"name"`
	// What to do with the VM. Default: stop
	After PauseAfter `json:"after,omitempty"`
	// Command for the shell, run with the daemon's rights while the VM is frozen. Refused with
	// --no-hooks
	FrozenHook string `json:"frozen_hook,omitempty"`
	// Seconds: then the hook is killed. Default: 60
	HookTimeout int `json:"hook_timeout,omitempty"`
	// File to store too, cloned while frozen
	Attach []string `json:"attach,omitempty"`
	// Take a full memory file, not a diff
	Full bool `json:"full,omitempty"`
	// Replace also a snapshot of another VM
	Replace bool `json:"replace,omitempty"`
	// It may be resumed only once, and not forked
	Once bool `json:"once,omitempty"`
	// Seconds: for writing the memory. Default: 900
	CreateTimeout int `json:"create_timeout,omitempty"`
	// Memory, in bytes, that diffs of VMs that run on may have at a time; 0: none. Default: the
	// daemon's, or half of what is available
	FreezeMemory int64 `json:"freeze_memory,omitempty"`
	// Directory on tmpfs for them, which only the daemon's user may enter. Default: the daemon's,
	// or /dev/shm/lamina-freeze-UID
	FreezeDirectory string `json:"freeze_directory,omitempty"`
}

// Phases is a part of a report.
type Phases struct {
	PrepareMs  float64 `json:"prepare_ms"`
	PauseMs    float64 `json:"pause_ms"`
	CreateMs   float64 `json:"create_ms"`
	JournalMs  float64 `json:"journal_ms"`
	HookMs     float64 `json:"hook_ms"`
	ResumeMs   float64 `json:"resume_ms"`
	FrozenMs   float64 `json:"frozen_ms"`
	CompleteMs float64 `json:"complete_ms"`
	PublishMs  float64 `json:"publish_ms"`
	DurableMs  float64 `json:"durable_ms"`
}

// PauseReport is the reply of Pause.
type PauseReport struct {
	MessageType string `json:"message_type"`
	// The snapshot's name; on the command line its path
	Snapshot      string    `json:"snapshot"`
	PauseID       string    `json:"pause_id"`
	ParentPauseID string    `json:"parent_pause_id,omitempty"`
	Kind          PauseKind `json:"kind"`
	// Why it is a diff or a full memory file
	Reason string `json:"reason"`
	// Where Firecracker wrote the memory file
	Place PausePlace `json:"place"`
	// Why there
	PlaceReason string `json:"place_reason"`
	Generation  int64  `json:"generation"`
	MemoryBytes int64  `json:"memory_bytes"`
	// Bytes of guest memory in the new layer
	StoredBytes int64 `json:"stored_bytes"`
	// Written by Firecracker, but equal to the base's
	UnchangedBytes int64  `json:"unchanged_bytes"`
	Phases         Phases `json:"phases"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes []string `json:"notes"`
}

// ResumeRequest is the body of Resume.
type ResumeRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// Firecracker's API socket
	APISocket string `json:"api_socket"`
	// Firecracker's root (the jailer's chroot), as the daemon sees it
	Jail string `json:"jail,omitempty"`
	// Seconds: for short replies of Firecracker. Default: 30
	Timeout int `json:"timeout,omitempty"`
	// Of the snapshot
	Name string `json:"name"`
	// How the VM gets its memory. Default: auto
	Mode ResumeMode `json:"mode,omitempty"`
	// Fill without a fault. Default: working-set
	Populate ResumePopulate `json:"populate,omitempty"`
	// With uffd: record every touched block; slower
	Record bool `json:"record,omitempty"`
	// Do not even record faults
	NoRecord bool `json:"no_record,omitempty"`
	// Another host device
	NetworkOverride []string `json:"network_override,omitempty"`
	// Another vsock path
	VsockOverride string `json:"vsock_override,omitempty"`
	// Another file of a disk
	DriveOverride []string `json:"drive_override,omitempty"`
	// Another serial console
	SerialOverride string `json:"serial_override,omitempty"`
	// Another console
	ConsoleOverride string `json:"console_override,omitempty"`
	// Move the guest's clock on by the time passed
	ClockRealtime bool `json:"clock_realtime,omitempty"`
	// Pages of its memory. Default: as-before
	HugePages ResumeHugePages `json:"huge_pages,omitempty"`
	// Load it and leave it paused
	StayPaused bool `json:"stay_paused,omitempty"`
	// File with a JSON object, as the daemon sees it: the contents of the VM's metadata service,
	// set before it runs. The object 'lamina' is added
	Mmds string `json:"mmds,omitempty"`
	// Also what may be resumed only once
	Again bool `json:"again,omitempty"`
	// If the store does not have the snapshot, pull it from the bucket of --push first
	Pull bool `json:"pull,omitempty"`
	// As pull, but the VM runs while its memory is fetched (not with mode file)
	Lazy bool `json:"lazy,omitempty"`
	// With lazy: kill the VM if a block takes longer; seconds. Default: 3600
	WaitLimit int64 `json:"wait_limit,omitempty"`
}

// ResumeReport is the reply of Resume.
type ResumeReport struct {
	MessageType string `json:"message_type"`
	// The snapshot's name; on the command line its path
	Snapshot string     `json:"snapshot"`
	PauseID  string     `json:"pause_id"`
	PID      int64      `json:"pid"`
	Mode     ResumeMode `json:"mode"`
	// Why this mode
	Reason            string `json:"reason"`
	StartedPageServer bool   `json:"started_page_server"`
	// Random; no other resume has it
	ResumeID string `json:"resume_id"`
	// The how manyth resume of the pause in this store; 0: unknown
	Clone int64 `json:"clone"`
	// How the guest learns of it: vmgenid or none
	GenerationDevice string  `json:"generation_device"`
	PinMs            float64 `json:"pin_ms"`
	// Materializing, or starting the page server
	PrepareMs float64 `json:"prepare_ms"`
	LoadMs    float64 `json:"load_ms"`
	ResumeMs  float64 `json:"resume_ms"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes []string `json:"notes"`
}

// ForkRequest is the body of Fork.
type ForkRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// What to fork
	Snapshot string `json:"snapshot"`
	// Name of the fork
	New string `json:"new"`
}

// ForkReport is the reply of Fork.
type ForkReport struct {
	MessageType string `json:"message_type"`
	// The snapshot's name; on the command line its path
	Snapshot string `json:"snapshot"`
	// The same as the source's
	PauseID      string `json:"pause_id"`
	Generation   int64  `json:"generation"`
	LinkedLayers int64  `json:"linked_layers"`
	CopiedLayers int64  `json:"copied_layers"`
	LinkedBytes  int64  `json:"linked_bytes"`
	CopiedBytes  int64  `json:"copied_bytes"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes     []string `json:"notes"`
	ElapsedMs float64  `json:"elapsed_ms"`
}

// CloneRequest is a part of a request.
type CloneRequest struct {
	// Firecracker's API socket
	APISocket string `json:"api_socket"`
	// Firecracker's root (the jailer's chroot), as the daemon sees it
	Jail string `json:"jail,omitempty"`
	// Another host device
	NetworkOverride []string `json:"network_override,omitempty"`
	// Another vsock path
	VsockOverride string `json:"vsock_override,omitempty"`
	// Another file of a disk
	DriveOverride []string `json:"drive_override,omitempty"`
	// Another serial console
	SerialOverride string `json:"serial_override,omitempty"`
	// Another console
	ConsoleOverride string `json:"console_override,omitempty"`
}

// ForkLiveRequest is the body of ForkLive.
type ForkLiveRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// Firecracker's API socket
	APISocket string `json:"api_socket"`
	// Firecracker's root (the jailer's chroot), as the daemon sees it
	Jail string `json:"jail,omitempty"`
	// Seconds: for short replies of Firecracker. Default: 30
	Timeout int `json:"timeout,omitempty"`
	// Of the snapshot
	Name string `json:"name"`
	// What to do with the VM. Default: resume
	After ForkLiveAfter `json:"after,omitempty"`
	// Command for the shell, run with the daemon's rights while the VM is frozen. Refused with
	// --no-hooks
	FrozenHook string `json:"frozen_hook,omitempty"`
	// Seconds: then the hook is killed. Default: 60
	HookTimeout int `json:"hook_timeout,omitempty"`
	// File to store too, cloned while frozen
	Attach []string `json:"attach,omitempty"`
	// Take a full memory file, not a diff
	Full bool `json:"full,omitempty"`
	// Replace also a snapshot of another VM
	Replace bool `json:"replace,omitempty"`
	// Seconds: for writing the memory. Default: 900
	CreateTimeout int `json:"create_timeout,omitempty"`
	// Memory, in bytes, that diffs of VMs that run on may have at a time; 0: none. Default: the
	// daemon's, or half of what is available
	FreezeMemory int64 `json:"freeze_memory,omitempty"`
	// Directory on tmpfs for them, which only the daemon's user may enter. Default: the daemon's,
	// or /dev/shm/lamina-freeze-UID
	FreezeDirectory string `json:"freeze_directory,omitempty"`
	// How the VM gets its memory. Default: auto
	Mode ForkLiveMode `json:"mode,omitempty"`
	// Fill without a fault. Default: working-set
	Populate ForkLivePopulate `json:"populate,omitempty"`
	// With uffd: record every touched block; slower
	Record bool `json:"record,omitempty"`
	// Do not even record faults
	NoRecord bool `json:"no_record,omitempty"`
	// Move the guest's clock on by the time passed
	ClockRealtime bool `json:"clock_realtime,omitempty"`
	// Pages of its memory. Default: as-before
	HugePages ForkLiveHugePages `json:"huge_pages,omitempty"`
	// Load it and leave it paused
	StayPaused bool `json:"stay_paused,omitempty"`
	// File with a JSON object, as the daemon sees it: the contents of the VM's metadata service,
	// set before it runs. The object 'lamina' is added
	Mmds string `json:"mmds,omitempty"`
	// Processes of the source's VMM that were just started and become clones
	Clones []CloneRequest `json:"clones"`
}

// CloneReport is a part of a report.
type CloneReport struct {
	APISocket string `json:"api_socket"`
	// From the beginning of the fork until its VM ran, or had failed
	ReadyMs float64 `json:"ready_ms"`
	// Null: it does not run
	Resume *ResumeReport `json:"resume"`
	// Why it does not run
	Error *ItemError `json:"error"`
}

// ForkLiveReport is the reply of ForkLive.
type ForkLiveReport struct {
	MessageType string      `json:"message_type"`
	Pause       PauseReport `json:"pause"`
	// In the order of the request
	Clones []CloneReport `json:"clones"`
	// From the beginning until clones could be loaded
	ReadableMs float64 `json:"readable_ms"`
	// Until the last clone ran
	ClonesMs float64 `json:"clones_ms"`
	// Until the snapshot was on the disk
	DurableMs float64 `json:"durable_ms"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes []string `json:"notes"`
}

// RecoverRequest is the body of Recover.
type RecoverRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// Only report what would be done
	DryRun bool `json:"dry_run,omitempty"`
	// Also complete or remove what came with a copy of another store; nothing of the other store is
	// touched
	AdoptStore bool `json:"adopt_store,omitempty"`
	// Pause ids of queued pauses to discard: their states are lost. 404 for one that is not queued
	GiveUp []string `json:"give_up,omitempty"`
}

// Arrival is a part of a report.
type Arrival struct {
	ID string `json:"id"`
	// That it will get; empty: unreadable
	Name   string `json:"name"`
	Bucket string `json:"bucket"`
	// Allocated in the store
	Bytes  int64 `json:"bytes"`
	Frames int64 `json:"frames"`
	// Frames that were fetched
	FramesHere int64 `json:"frames_here"`
	// VMs that were resumed from it and may run
	VMs int64 `json:"vms"`
	// A process fetches it now
	Fetcher bool `json:"fetcher"`
	// A resume has begun it, and has no VM yet
	BeingResumed bool `json:"being_resumed"`
	// The bucket does not have the other frames any more
	Lost bool `json:"lost"`
	// Nobody used it any more
	Removed bool `json:"removed"`
}

// RecoverReport is the reply of Recover.
type RecoverReport struct {
	MessageType string `json:"message_type"`
	DryRun      bool   `json:"dry_run"`
	// Acknowledged pauses that became snapshots
	Completed int64 `json:"completed"`
	// Pauses that Firecracker had not acknowledged
	Discarded int64 `json:"discarded"`
	// Pauses that could not be completed
	Queued int64 `json:"queued"`
	// Pins of VMs that have ended
	ReleasedPins int64 `json:"released_pins"`
	RemovedMaps  int64 `json:"removed_maps"`
	// VMs that an unfinished pause had left frozen
	ResumedVMs int64 `json:"resumed_vms"`
	// Pins and pauses of another store, or of another host, that are left alone
	Foreign int64 `json:"foreign"`
	// Foreign pins and pauses that became this store's
	Adopted int64 `json:"adopted"`
	// Arriving snapshots that nobody used any more
	RemovedArrivals int64 `json:"removed_arrivals"`
	// Snapshots that are still being fetched, removed ones included
	Arrivals []Arrival `json:"arrivals"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes []string `json:"notes"`
}

// RemoveRequest is the body of RemoveSeveral.
type RemoveRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// What to remove
	Snapshots []string `json:"snapshots"`
	// Only report what would be removed
	DryRun bool `json:"dry_run,omitempty"`
	// With one snapshot: it is removed only if it has the state of this pause
	PauseID string `json:"pause_id,omitempty"`
}

// RemovedSnapshot is a part of a report.
type RemovedSnapshot struct {
	// The snapshot's name; on the command line its path
	Snapshot string `json:"snapshot"`
	Removed  bool   `json:"removed"`
	// Why it was not removed
	Error *ItemError `json:"error"`
	// Empty: null
	PauseID string `json:"pause_id"`
	// Running VMs that were resumed from it
	RunningVMs int64 `json:"running_vms"`
	FreedBytes int64 `json:"freed_bytes"`
	// Bytes of files that have other names
	RemainingBytes int64 `json:"remaining_bytes"`
}

// Removals is the reply of RemoveSeveral.
type Removals struct {
	MessageType string `json:"message_type"`
	DryRun      bool   `json:"dry_run"`
	// In the order given, each once
	Snapshots []RemovedSnapshot `json:"snapshots"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes []string `json:"notes"`
}

// ListedSnapshot is a part of a report.
type ListedSnapshot struct {
	Name string `json:"name"`
	// Why it cannot be used as it is
	Error *ItemError `json:"error"`
	// Empty: null
	PauseID string `json:"pause_id"`
	// Empty: null
	ParentPauseID string `json:"parent_pause_id"`
	// Empty: null
	Parent string `json:"parent"`
	// Empty: null
	Created     string `json:"created"`
	Generation  int64  `json:"generation"`
	Layers      int64  `json:"layers"`
	MemoryBytes int64  `json:"memory_bytes"`
	// Empty: null
	Header  string `json:"header"`
	VMState bool   `json:"vmstate"`
	// Bytes that removing it frees
	OwnBytes int64 `json:"own_bytes"`
	// Bytes of files that have other names too
	SharedBytes int64 `json:"shared_bytes"`
	Resumes     int64 `json:"resumes"`
	RunningVMs  int64 `json:"running_vms"`
}

// Session is a part of a report.
type Session struct {
	// PID-START
	Name    string     `json:"name"`
	Error   *ItemError `json:"error"`
	PID     int64      `json:"pid"`
	Running bool       `json:"running"`
	// Why it is left alone: it came with a copy of another store, or another host wrote it. Empty:
	// null
	Foreign string `json:"foreign"`
	// Empty: null
	Snapshot string `json:"snapshot"`
	// Empty: null
	BasePauseID string `json:"base_pause_id"`
	// Empty: null
	Since        string `json:"since"`
	ByPageFaults bool   `json:"by_page_faults"`
	// Empty: null
	Map string `json:"map"`
}

// ListingPending is a part of Listing.
type ListingPending struct {
	ID             string             `json:"id"`
	Kind           ListingPendingKind `json:"kind"`
	AllocatedBytes int64              `json:"allocated_bytes"`
	// Empty: null
	Since string `json:"since"`
	// Empty: null
	Foreign string `json:"foreign"`
}

// ListingMap is a part of Listing.
type ListingMap struct {
	PauseID        string `json:"pause_id"`
	AllocatedBytes int64  `json:"allocated_bytes"`
	Used           bool   `json:"used"`
}

// ListingTotals is a part of Listing.
type ListingTotals struct {
	AllocatedBytes int64 `json:"allocated_bytes"`
	SnapshotBytes  int64 `json:"snapshot_bytes"`
	PinBytes       int64 `json:"pin_bytes"`
	PendingBytes   int64 `json:"pending_bytes"`
	TemporaryBytes int64 `json:"temporary_bytes"`
	MapBytes       int64 `json:"map_bytes"`
}

// TreeNode is a part of Listing.
type TreeNode struct {
	Depth int64 `json:"depth"`
	// Empty: null
	Name string `json:"name"`
	// Empty: null
	MissingPauseID string `json:"missing_pause_id"`
	// Empty: null
	MissingName string `json:"missing_name"`
	InCycle     bool   `json:"in_cycle"`
}

// Listing is the reply of List.
type Listing struct {
	MessageType string           `json:"message_type"`
	Store       string           `json:"store"`
	Snapshots   []ListedSnapshot `json:"snapshots"`
	Pins        []Session        `json:"pins"`
	Pending     []ListingPending `json:"pending"`
	Maps        []ListingMap     `json:"maps"`
	Totals      ListingTotals    `json:"totals"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes []string `json:"notes"`
	// With tree=true
	Tree []TreeNode `json:"tree,omitempty"`
}

// RecordedPhases is a part of a report.
type RecordedPhases struct {
	PrepareMs float64 `json:"prepare_ms"`
	PauseMs   float64 `json:"pause_ms"`
	CreateMs  float64 `json:"create_ms"`
	JournalMs float64 `json:"journal_ms"`
	HookMs    float64 `json:"hook_ms"`
	ResumeMs  float64 `json:"resume_ms"`
	FrozenMs  float64 `json:"frozen_ms"`
}

// PauseRecord is a part of a report.
type PauseRecord struct {
	Kind PauseRecordKind `json:"kind"`
	// Why it is a diff or a full memory file
	Reason string `json:"reason"`
	// Those until it was stored. Null: it was completed after a crash
	Phases *RecordedPhases `json:"phases"`
}

// SnapshotLastResume is a part of Snapshot.
type SnapshotLastResume struct {
	// When the recording ended
	Time string `json:"time"`
	// The working set was filled in advance
	Replayed bool `json:"replayed"`
	// Filled in advance, or on a fault
	UsedBlocks int64 `json:"used_blocks"`
	// Of those, in the working set
	KnownBlocks int64 `json:"known_blocks"`
}

// SnapshotWindows is a part of Snapshot.
type SnapshotWindows struct {
	Bytes       int64   `json:"bytes"`
	Count       int64   `json:"count"`
	MaxExtents  int64   `json:"max_extents"`
	MeanExtents float64 `json:"mean_extents"`
}

// SnapshotLayer is a part of Snapshot.
type SnapshotLayer struct {
	BuildID string `json:"build_id"`
	// Empty: null
	File string `json:"file"`
	// Empty: null
	Layout         string `json:"layout"`
	Checksums      *bool  `json:"checksums"`
	LiveBlocks     int64  `json:"live_blocks"`
	DeadBlocks     *int64 `json:"dead_blocks"`
	Extents        int64  `json:"extents"`
	FileBytes      *int64 `json:"file_bytes"`
	AllocatedBytes *int64 `json:"allocated_bytes"`
	LinkCount      *int64 `json:"link_count"`
}

// SnapshotExtent is a part of Snapshot.
type SnapshotExtent struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
	// Null: zeros. Empty: null
	BuildID       string `json:"build_id"`
	StorageOffset int64  `json:"storage_offset"`
}

// Snapshot is the reply of Inspect.
type Snapshot struct {
	MessageType string         `json:"message_type"`
	Path        string         `json:"path"`
	Header      SnapshotHeader `json:"header"`
	BuildID     string         `json:"build_id"`
	BaseBuildID string         `json:"base_build_id"`
	// Empty: null
	PauseID string `json:"pause_id"`
	// Empty: null
	ParentPauseID string `json:"parent_pause_id"`
	// Empty: null
	Created string `json:"created"`
	// Pages of the VM's memory: None, 2M or Transparent. Empty: null
	HugePages        string `json:"huge_pages"`
	Generation       int64  `json:"generation"`
	MemoryBytes      int64  `json:"memory_bytes"`
	BlockBytes       int64  `json:"block_bytes"`
	ZeroBlocks       int64  `json:"zero_blocks"`
	VMStateBytes     *int64 `json:"vmstate_bytes"`
	WorkingSetBlocks int64  `json:"working_set_blocks"`
	// Recorded ones, oldest first
	LastResumes []SnapshotLastResume `json:"last_resumes"`
	// It may be resumed only once
	Once bool `json:"once"`
	// It was, if it may be only once
	Consumed bool `json:"consumed"`
	// How its pause was taken; null: not recorded
	Pause       *PauseRecord    `json:"pause"`
	ExtentCount int64           `json:"extent_count"`
	Windows     SnapshotWindows `json:"windows"`
	// Oldest first
	Layers  []SnapshotLayer  `json:"layers"`
	Extents []SnapshotExtent `json:"extents,omitempty"`
}

// Removal is the reply of Remove.
type Removal struct {
	MessageType string `json:"message_type"`
	DryRun      bool   `json:"dry_run"`
	// The snapshot's name; on the command line its path
	Snapshot string `json:"snapshot"`
	Removed  bool   `json:"removed"`
	// Why it was not removed
	Error *ItemError `json:"error"`
	// Empty: null
	PauseID string `json:"pause_id"`
	// Running VMs that were resumed from it
	RunningVMs int64 `json:"running_vms"`
	FreedBytes int64 `json:"freed_bytes"`
	// Bytes of files that have other names
	RemainingBytes int64 `json:"remaining_bytes"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes []string `json:"notes"`
}

// CompactRequest is the body of Compact.
type CompactRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// Merge policy; default: the daemon's
	Policy string `json:"policy,omitempty"`
	// Only report what would be done
	DryRun bool `json:"dry_run,omitempty"`
	// Bytes merged per second
	Rate int64 `json:"rate,omitempty"`
	// Use idle I/O and CPU priority
	Background bool `json:"background,omitempty"`
}

// CompactReport is the reply of Compact.
type CompactReport struct {
	MessageType string `json:"message_type"`
	// With all its limits
	Policy string `json:"policy"`
	DryRun bool   `json:"dry_run"`
	// The snapshot's name; on the command line its path
	Snapshot string `json:"snapshot"`
	// 'dropped': pauses replaced the snapshot during each attempt
	Outcome           CompactOutcome `json:"outcome"`
	PauseID           string         `json:"pause_id"`
	LayersBefore      int64          `json:"layers_before"`
	LayersAfter       int64          `json:"layers_after"`
	MergedLayers      int64          `json:"merged_layers"`
	ReadBytes         int64          `json:"read_bytes"`
	WrittenBytes      int64          `json:"written_bytes"`
	ClonedBytes       int64          `json:"cloned_bytes"`
	FreedBytes        int64          `json:"freed_bytes"`
	DuplicatedBytes   int64          `json:"duplicated_bytes"`
	Attempts          int64          `json:"attempts"`
	NextPauseMustWait bool           `json:"next_pause_must_wait"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes     []string `json:"notes"`
	ElapsedMs float64  `json:"elapsed_ms"`
}

// QueuedPush is a part of a report.
type QueuedPush struct {
	Name string `json:"name"`
	// The latest pause of the name
	PauseID string `json:"pause_id"`
	// Failed: it is not tried again before the name's next pause
	State QueuedPushState `json:"state"`
	// How long the name has a state that was not pushed
	AgeS float64 `json:"age_s"`
	// In a row
	FailedAttempts int64 `json:"failed_attempts"`
	// Time to the next attempt; 0 if it may begin now
	NextAttemptS float64 `json:"next_attempt_s"`
	// Of the last attempt
	Error *ItemError `json:"error"`
}

// PushQueue is the reply of PushQueue.
type PushQueue struct {
	MessageType string `json:"message_type"`
	// The bucket of --push; empty: nothing is pushed by itself
	Url string `json:"url"`
	// The pattern of --push-names
	Names string `json:"names"`
	// The oldest first
	Queue []QueuedPush `json:"queue"`
}

// PushRequest is the body of Push.
type PushRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// Of the snapshot
	Name string `json:"name"`
	// Name in the bucket. Default: that of the snapshot
	As string `json:"as,omitempty"`
	// The bucket: s3://… or file:///…. Default: that of --push
	Url string `json:"url,omitempty"`
	// How to compress. Default: zstd
	Codec PushCodec `json:"codec,omitempty"`
	// Publish after the newest state, also if the snapshot does not descend from it
	Replace bool `json:"replace,omitempty"`
}

// PushReport is the reply of Push.
type PushReport struct {
	MessageType string `json:"message_type"`
	// The snapshot's name; on the command line its path
	Snapshot string `json:"snapshot"`
	// Under which it was published
	Name    string `json:"name"`
	Number  int64  `json:"number"`
	PauseID string `json:"pause_id"`
	// The name has a newer state that the snapshot does not descend from; it was published as
	// NAME@PAUSE
	Conflict bool `json:"conflict"`
	// Nothing was sent
	AlreadyThere    bool  `json:"already_there"`
	UploadedObjects int64 `json:"uploaded_objects"`
	ReusedObjects   int64 `json:"reused_objects"`
	// Of layers and files, before compression
	DataBytes     int64 `json:"data_bytes"`
	UploadedBytes int64 `json:"uploaded_bytes"`
	ReusedBytes   int64 `json:"reused_bytes"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes     []string `json:"notes"`
	ElapsedMs float64  `json:"elapsed_ms"`
}

// PullRequest is the body of Pull.
type PullRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// In the bucket
	Name string `json:"name"`
	// Name of the new snapshot. Default: that in the bucket
	As string `json:"as,omitempty"`
	// The bucket: s3://… or file:///…. Default: that of --push
	Url string `json:"url,omitempty"`
}

// PullReport is the reply of Pull.
type PullReport struct {
	MessageType string `json:"message_type"`
	// The snapshot's name; on the command line its path
	Snapshot string `json:"snapshot"`
	// In the bucket
	Name        string `json:"name"`
	Number      int64  `json:"number"`
	PauseID     string `json:"pause_id"`
	Generation  int64  `json:"generation"`
	MemoryBytes int64  `json:"memory_bytes"`
	// That another snapshot of the store had
	LinkedLayers  int64 `json:"linked_layers"`
	FetchedLayers int64 `json:"fetched_layers"`
	// Of what was fetched, decompressed
	DataBytes    int64 `json:"data_bytes"`
	FetchedBytes int64 `json:"fetched_bytes"`
	// With a bound of the cache: of all snapshots that the bucket has too
	CacheBytes int64 `json:"cache_bytes"`
	// Names of the snapshots that made room
	Evicted []string `json:"evicted"`
	// That this has freed
	EvictedBytes int64 `json:"evicted_bytes"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes     []string `json:"notes"`
	ElapsedMs float64  `json:"elapsed_ms"`
}

// PruneRequest is the body of Prune.
type PruneRequest struct {
	// Path of the store, as the daemon sees it. A daemon of another store refuses the request with
	// 421. Default: the daemon's store
	Store string `json:"store,omitempty"`
	// The bucket: s3://… or file:///…. Default: that of --push
	Url string `json:"url,omitempty"`
	// Keep the newest states of a name: how many
	KeepLast int64 `json:"keep_last,omitempty"`
	// Keep the newest state of each day (UTC): how many days
	KeepDaily int64 `json:"keep_daily,omitempty"`
	// Keep the states of so many seconds
	KeepWithin int64 `json:"keep_within,omitempty"`
	// Apply the rules to names that match this pattern only
	Names string `json:"names,omitempty"`
	// Only report what would be removed
	DryRun bool `json:"dry_run,omitempty"`
}

// PruneReport is the reply of Prune.
type PruneReport struct {
	MessageType   string `json:"message_type"`
	KeptSnapshots int64  `json:"kept_snapshots"`
	// By the rules of retention
	RemovedRecords int64 `json:"removed_records"`
	ExpiredPins    int64 `json:"expired_pins"`
	RemovedObjects int64 `json:"removed_objects"`
	RemovedBytes   int64 `json:"removed_bytes"`
	KeptObjects    int64 `json:"kept_objects"`
	// Multipart uploads that nobody would complete
	AbortedUploads int64 `json:"aborted_uploads"`
	DryRun         bool  `json:"dry_run"`
	// Notes for a person, one line each. They name options as a remedy does
	Notes []string `json:"notes"`
}

// Sessions is the reply of Sessions.
type Sessions struct {
	MessageType string    `json:"message_type"`
	Sessions    []Session `json:"sessions"`
}

// Health is the reply of Health.
type Health struct {
	MessageType string `json:"message_type"`
	// "ok"
	Status string `json:"status"`
	Store  string `json:"store"`
	// The recovery at the start has ended
	Recovered bool `json:"recovered"`
	// The page server served when it was last asked
	PageServer  bool  `json:"page_server"`
	Connections int64 `json:"connections"`
	// Requests without a response yet
	Requests     int64 `json:"requests"`
	QueuedMerges int64 `json:"queued_merges"`
	QueuedPushes int64 `json:"queued_pushes"`
}

// VersionInfo is the reply of Version.
type VersionInfo struct {
	MessageType string `json:"message_type"`
	Version     string `json:"version"`
	// "v1"
	API string `json:"api"`
}

// Pause: pause a VM into the store. A state that Firecracker has acknowledged is not lost:
// after a failure it stays queued, and the VM's next pause or a recovery completes it. A client
// that disconnects does not stop the pause. A snapshot at the policy's hard limit is merged
// first.
//
// POST /v1/pause
func (c *Client) Pause(ctx context.Context, request PauseRequest) (*PauseReport, error) {
	var reply PauseReport
	err := c.call(ctx, operation{"pause", http.MethodPost, "/v1/pause"}, nil, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Resume: resume a VM from the store. Loads it into a Firecracker that was just started. A pin
// links the snapshot's files while the VM runs.
//
// POST /v1/resume
func (c *Client) Resume(ctx context.Context, request ResumeRequest) (*ResumeReport, error) {
	var reply ResumeReport
	err := c.call(ctx, operation{"resume", http.MethodPost, "/v1/resume"}, nil, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Fork: give a snapshot a second name.
//
// POST /v1/fork
func (c *Client) Fork(ctx context.Context, request ForkRequest) (*ForkReport, error) {
	var reply ForkReport
	err := c.call(ctx, operation{"fork", http.MethodPost, "/v1/fork"}, nil, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// ForkLive: clone a VM that runs on. Takes a checkpoint, and resumes clones from it before it
// is on the disk. Answers when the snapshot is on the disk and each clone runs or has failed.
// If some clones fail, the status is 200 all the same, and the body has the result of each. If
// the checkpoint fails, clones that run all the same are in the error's notes.
//
// POST /v1/fork-live
func (c *Client) ForkLive(ctx context.Context, request ForkLiveRequest) (*ForkLiveReport, error) {
	var reply ForkLiveReport
	err := c.call(ctx, operation{"forkLive", http.MethodPost, "/v1/fork-live"}, nil, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Recover: finish or remove what crashes have left.
//
// POST /v1/recover
func (c *Client) Recover(ctx context.Context, request RecoverRequest) (*RecoverReport, error) {
	var reply RecoverReport
	err := c.call(ctx, operation{"recover", http.MethodPost, "/v1/recover"}, nil, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// RemoveSeveral: remove snapshots. If one cannot be removed, the others are removed all the
// same: the status is 200, and the body has the result of each. VMs that were resumed from them
// run on.
//
// POST /v1/remove
func (c *Client) RemoveSeveral(ctx context.Context, request RemoveRequest) (*Removals, error) {
	var reply Removals
	err := c.call(ctx, operation{"removeSeveral", http.MethodPost, "/v1/remove"}, nil, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// List: the contents of the store.
//
// GET /v1/snapshots
func (c *Client) List(ctx context.Context, params ListParams) (*Listing, error) {
	query := url.Values{}
	if params.Tree {
		query.Set("tree", "true")
	}
	var reply Listing
	err := c.call(ctx, operation{"list", http.MethodGet, "/v1/snapshots"}, nil, query, nil, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Inspect: a snapshot with its layers.
//
// GET /v1/snapshots/{name}
func (c *Client) Inspect(ctx context.Context, name string) (*Snapshot, error) {
	var reply Snapshot
	err := c.call(ctx, operation{"inspect", http.MethodGet, "/v1/snapshots/{name}"}, []pathValue{{"name", name}}, nil, nil, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Remove: remove a snapshot. VMs that were resumed from it run on.
//
// DELETE /v1/snapshots/{name}
func (c *Client) Remove(ctx context.Context, name string, params RemoveParams) (*Removal, error) {
	query := url.Values{}
	if params.DryRun {
		query.Set("dry_run", "true")
	}
	if params.PauseID != "" {
		query.Set("pause_id", params.PauseID)
	}
	var reply Removal
	err := c.call(ctx, operation{"remove", http.MethodDelete, "/v1/snapshots/{name}"}, []pathValue{{"name", name}}, query, nil, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Compact: merge the layers that a policy chooses. Outcome 'dropped' means that pauses replaced
// the snapshot during each attempt.
//
// POST /v1/snapshots/{name}/compact
func (c *Client) Compact(ctx context.Context, name string, request CompactRequest) (*CompactReport, error) {
	var reply CompactReport
	err := c.call(ctx, operation{"compact", http.MethodPost, "/v1/snapshots/{name}/compact"}, []pathValue{{"name", name}}, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// PushQueue: the states that wait to be pushed. Of each name only the latest state waits.
//
// GET /v1/push
func (c *Client) PushQueue(ctx context.Context) (*PushQueue, error) {
	var reply PushQueue
	err := c.call(ctx, operation{"pushQueue", http.MethodGet, "/v1/push"}, nil, nil, nil, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Push: push a snapshot to a bucket. Answers when the snapshot is whole in the bucket. A
// conflict is not an error: the snapshot is then in the bucket under another name.
//
// POST /v1/push
func (c *Client) Push(ctx context.Context, request PushRequest) (*PushReport, error) {
	var reply PushReport
	err := c.call(ctx, operation{"push", http.MethodPost, "/v1/push"}, nil, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Pull: pull the newest state of a name from a bucket.
//
// POST /v1/pull
func (c *Client) Pull(ctx context.Context, request PullRequest) (*PullReport, error) {
	var reply PullReport
	err := c.call(ctx, operation{"pull", http.MethodPost, "/v1/pull"}, nil, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Prune: remove what is not needed from a bucket. Older states that no rule keeps, then what
// nothing references. Without a rule all states stay.
//
// POST /v1/remote/prune
func (c *Client) Prune(ctx context.Context, request PruneRequest) (*PruneReport, error) {
	var reply PruneReport
	err := c.call(ctx, operation{"prune", http.MethodPost, "/v1/remote/prune"}, nil, nil, request, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Sessions: running VMs, and pins that cannot be read.
//
// GET /v1/sessions
func (c *Client) Sessions(ctx context.Context) (*Sessions, error) {
	var reply Sessions
	err := c.call(ctx, operation{"sessions", http.MethodGet, "/v1/sessions"}, nil, nil, nil, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Events: recent operations, one JSON object per line. The daemon keeps the last --events of
// them.
//
// GET /v1/events
func (c *Client) Events(ctx context.Context, params EventsParams) ([]Event, error) {
	query := url.Values{}
	if params.After != 0 {
		query.Set("after", strconv.FormatInt(params.After, 10))
	}
	var reply []Event
	err := c.call(ctx, operation{"events", http.MethodGet, "/v1/events"}, nil, query, nil, &reply)
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// Health: whether the daemon works.
//
// GET /v1/health
func (c *Client) Health(ctx context.Context) (*Health, error) {
	var reply Health
	err := c.call(ctx, operation{"health", http.MethodGet, "/v1/health"}, nil, nil, nil, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Version: version of the daemon.
//
// GET /v1/version
func (c *Client) Version(ctx context.Context) (*VersionInfo, error) {
	var reply VersionInfo
	err := c.call(ctx, operation{"version", http.MethodGet, "/v1/version"}, nil, nil, nil, &reply)
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// OpenAPI: this document.
//
// GET /v1/openapi.json
func (c *Client) OpenAPI(ctx context.Context) (json.RawMessage, error) {
	var reply json.RawMessage
	err := c.call(ctx, operation{"openapi", http.MethodGet, "/v1/openapi.json"}, nil, nil, nil, &reply)
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// Metrics: metrics in the text format of Prometheus. Of the daemon, and of the store's page
// server if one runs.
//
// GET /metrics
func (c *Client) Metrics(ctx context.Context) (string, error) {
	var reply string
	err := c.call(ctx, operation{"metrics", http.MethodGet, "/metrics"}, nil, nil, nil, &reply)
	if err != nil {
		return "", err
	}
	return reply, nil
}
