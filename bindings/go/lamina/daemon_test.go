package lamina_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"lamina/go/internal/livetest"
	"lamina/go/lamina"
)

// All operations, with a real daemon: its replies fit the types.
func TestOperationsOfARealDaemon(t *testing.T) {
	host := livetest.Start(t)
	client := lamina.New(host.Socket)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	api, control := host.StartVM("vm")
	host.Control(control, "run 100 1")

	full, err := client.Pause(ctx, lamina.PauseRequest{APISocket: api, Name: "web", After: lamina.PauseAfterResume, Store: host.Store})
	if err != nil || full.Kind != lamina.PauseKindFull || full.StoredBytes == 0 || full.Phases.FrozenMs <= 0 {
		t.Fatalf("%+v, %v", full, err)
	}
	host.Control(control, "run 10 2")
	diff, err := client.Pause(ctx, lamina.PauseRequest{APISocket: api, Name: "web", After: lamina.PauseAfterResume})
	if err != nil || diff.Kind != lamina.PauseKindDiff || diff.ParentPauseID != full.PauseID || diff.Generation != 1 {
		t.Fatalf("%+v, %v", diff, err)
	}
	fork, err := client.Fork(ctx, lamina.ForkRequest{Snapshot: "web", New: "copy"})
	if err != nil || fork.Snapshot != "copy" || fork.PauseID != diff.PauseID || fork.LinkedLayers != 2 {
		t.Errorf("%+v, %v", fork, err)
	}
	live, err := client.ForkLive(ctx, lamina.ForkLiveRequest{APISocket: api, Name: "live", Clones: []lamina.CloneRequest{
		{APISocket: "/nowhere", DriveOverride: []string{"_disk0=/disk"}}}})
	if err != nil || live.Pause.Snapshot != "live" || len(live.Clones) != 1 || live.Clones[0].Resume != nil ||
		!errors.Is(live.Clones[0].Error, lamina.KindNotFound) {
		t.Errorf("%+v, %v", live, err)
	}
	if _, err = client.Remove(ctx, "live", lamina.RemoveParams{}); err != nil {
		t.Error(err)
	}
	listing, err := client.List(ctx, lamina.ListParams{Tree: true})
	if err != nil || len(listing.Snapshots) != 2 || listing.Snapshots[1].Name != "web" || listing.Snapshots[1].Layers != 2 || len(listing.Tree) == 0 {
		t.Errorf("%+v, %v", listing, err)
	}
	snapshot, err := client.Inspect(ctx, "web")
	if err != nil || snapshot.Header != lamina.SnapshotHeaderNative || len(snapshot.Layers) != 2 || snapshot.Layers[0].Checksums == nil || !*snapshot.Layers[0].Checksums {
		t.Errorf("%+v, %v", snapshot, err)
	}
	compacted, err := client.Compact(ctx, "copy", lamina.CompactRequest{Policy: "full:cap=2"})
	if err != nil || compacted.Outcome != lamina.CompactOutcomeMerged || compacted.LayersAfter != 1 {
		t.Errorf("%+v, %v", compacted, err)
	}
	sessions, err := client.Sessions(ctx)
	if err != nil || len(sessions.Sessions) != 1 {
		t.Errorf("%+v, %v", sessions, err)
	}
	recovered, err := client.Recover(ctx, lamina.RecoverRequest{DryRun: true})
	if err != nil || !recovered.DryRun || recovered.Queued != 0 {
		t.Errorf("%+v, %v", recovered, err)
	}
	removal, err := client.Remove(ctx, "copy", lamina.RemoveParams{DryRun: true})
	if err != nil || removal.Removed || !removal.DryRun {
		t.Errorf("%+v, %v", removal, err)
	}
	removals, err := client.RemoveSeveral(ctx, lamina.RemoveRequest{Snapshots: []string{"copy", "nothing"}})
	if err != nil || len(removals.Snapshots) != 2 || !removals.Snapshots[0].Removed || !errors.Is(removals.Snapshots[1].Error, lamina.KindNotFound) {
		t.Errorf("%+v, %v", removals, err)
	}
	health, err := client.Health(ctx)
	if err != nil || health.Status != "ok" || health.Store == "" || health.Connections == 0 {
		t.Errorf("%+v, %v", health, err)
	}
	version, err := client.Version(ctx)
	if err != nil || version.API != "v1" || version.Version == "" {
		t.Errorf("%+v, %v", version, err)
	}
	if text, err := client.OpenAPI(ctx); err != nil || !json.Valid(text) {
		t.Errorf("%s, %v", text, err)
	}
	text, err := client.Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	values, err := lamina.ParseMetrics(text)
	if err != nil || values[`laminad_pauses_total{kind="diff",outcome="done"}`] != 2 {
		t.Errorf("%v, %v", values, err)
	}
}

func TestErrorsOfARealDaemon(t *testing.T) {
	host := livetest.Start(t, "--no-hooks")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := lamina.New(host.Store + "/.vms/laminad.sock")
	if _, err := client.Inspect(ctx, "nothing"); !errors.Is(err, lamina.KindNotFound) {
		t.Error(err)
	}
	if _, err := client.Inspect(ctx, "../store"); err == nil {
		t.Error("a path is a name")
	}
	api, control := host.StartVM("vm")
	_, err := client.Pause(ctx, lamina.PauseRequest{APISocket: api, Name: "web", FrozenHook: "true"})
	if !errors.Is(err, lamina.KindUsage) {
		t.Error(err)
	}
	var reply *lamina.Error
	_, err = client.Pause(ctx, lamina.PauseRequest{APISocket: api, Name: "web", Store: host.Directory})
	if !errors.As(err, &reply) || reply.Status != 421 {
		t.Error(err)
	}
	if _, err = client.Pause(ctx, lamina.PauseRequest{APISocket: api, Name: "web", After: lamina.PauseAfterResume}); err != nil {
		t.Error(err)
	}
	if _, err = client.Fork(ctx, lamina.ForkRequest{Snapshot: "web", New: "web"}); !errors.Is(err, lamina.KindExists) {
		t.Error(err)
	}
	host.Control(control, "check")
}

// The daemon is killed and started again: events go on behind a gap.
func TestFollowerOutlivesARealDaemon(t *testing.T) {
	host := livetest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := lamina.New(host.Socket)
	api, _ := host.StartVM("vm")
	pause := lamina.PauseRequest{APISocket: api, Name: "web", After: lamina.PauseAfterResume}
	report, err := client.Pause(ctx, pause)
	if err != nil {
		t.Fatal(err)
	}
	follower := client.Follow(0)
	event, err := follower.Next(ctx)
	var told lamina.PauseReport
	if err != nil || event.Event != lamina.EventKindPause || event.Name != "web" || event.Report(&told) != nil || told.PauseID != report.PauseID {
		t.Errorf("%+v, %v", event, err)
	}
	host.KillDaemon()
	host.StartDaemon()
	if _, err := client.Pause(ctx, pause); err != nil {
		t.Fatal(err)
	}
	event, err = follower.Next(ctx)
	if err != nil || event.Event != lamina.EventKindPause || !event.AfterGap {
		t.Errorf("%+v, %v", event, err)
	}
}

// The caller stops waiting while Firecracker writes the memory: the pause is completed all the same.
func TestPauseGoesOnThoughItsCallerHasGone(t *testing.T) {
	host := livetest.Start(t)
	all, cancelAll := context.WithTimeout(context.Background(), time.Minute)
	defer cancelAll()
	client := lamina.New(host.Socket)
	api, control := host.StartVM("vm", "--fail", "create-hang")
	follower := client.Follow(0)
	follower.Interval = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(all)
	pause := lamina.PauseRequest{APISocket: api, Name: "web", After: lamina.PauseAfterResume}
	outcome := pauseInBackground(ctx, client, pause)
	host.WaitHeld(control)
	cancel()
	if err := <-outcome; !errors.Is(err, lamina.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	once := lamina.New(host.Socket, lamina.WithRetry(lamina.Retry{}))
	if _, err := once.Pause(all, pause); !errors.Is(err, lamina.KindBusy) {
		t.Errorf("a second pause of this VM: %v", err)
	}
	host.Control(control, "release")
	for {
		event, err := follower.Next(all)
		if err != nil {
			t.Fatal(err)
		}
		if event.Failure == nil {
			break
		}
		if !errors.Is(event.Failure, lamina.KindBusy) {
			t.Errorf("%+v", event)
		}
	}
	if listing, err := client.List(all, lamina.ListParams{}); err != nil || len(listing.Snapshots) != 1 {
		t.Errorf("%+v, %v", listing, err)
	}
}

// The daemon is killed while it works: the client repeats nothing, and says so.
func TestPauseOfAKilledDaemonIsNotRepeated(t *testing.T) {
	host := livetest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := lamina.New(host.Socket)
	api, control := host.StartVM("vm", "--fail", "create-hang")
	pause := lamina.PauseRequest{APISocket: api, Name: "web", After: lamina.PauseAfterResume}
	outcome := pauseInBackground(ctx, client, pause)
	host.WaitHeld(control)
	host.KillDaemon()
	if err := <-outcome; !errors.Is(err, lamina.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	host.Control(control, "release")
	host.StartDaemon()
	if _, err := client.Recover(ctx, lamina.RecoverRequest{}); err != nil {
		t.Error(err)
	}
	if report, err := client.Pause(ctx, pause); err != nil || report.Kind != lamina.PauseKindFull {
		t.Errorf("%+v, %v", report, err)
	}
	host.Control(control, "check")
}

func pauseInBackground(ctx context.Context, client *lamina.Client, request lamina.PauseRequest) <-chan error {
	outcome := make(chan error, 1)
	go func() {
		_, err := client.Pause(ctx, request)
		outcome <- err
	}()
	return outcome
}
