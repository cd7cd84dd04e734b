// The work that a guest does while its memory is paused, stored and resumed: three processes that
// own memory in different ways and that notice when a single byte of it is not what they left
// there.
//
//   pattern   writes pages with pseudo-random patterns and checks all of its pages at every tick
//   churn     maps, fills, clears and drops pages at random, so that pages with data become zero
//   ring      a doubly linked ring of malloc'd nodes of many sizes, checked by walking it
//
// The parent hands out ticks through pipes and prints one line per tick:
//
//   TICK <n> hash=<16 hex digits> bad=<pages and nodes that were wrong>
//
// The hash is a chain over everything that the processes read. It depends on the number of ticks
// alone, never on addresses or time, so a native run (`workload --ticks N`, which does not sleep)
// says what a guest must print. Everything that decides what happens next (random state, expected
// seeds, counters) lives in ordinary memory too: if that is damaged, the chain leaves the native
// one.
//
// Every word of every page is read at every tick. Sampling would be faster, but a stale page that
// is equal in the sampled word would go unseen.

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  kPageBytes = 4096,
  kPageWords = kPageBytes / 8,

  kPatternPages = 4096,
  kPatternWritesPerTick = 48,
  kPatternClearsPerTick = 8,

  kChurnAreas = 64,
  kAreaPages = 64,
  kChurnActionsPerTick = 6,
  kChurnPagesPerAction = 16,

  kRingNodes = 3000,
  kRingChangesPerTick = 60,
  kRingMaxWords = 480,

  kWorkers = 3,
  kGuestTickPauseMs = 10,
};

static const uint64_t kWordStep = 0x9e3779b97f4a7c15u;

struct Report {
  uint64_t hash;
  uint64_t bad;
};

// The finalizer of splitmix64.
static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static uint64_t next_random(uint64_t* state) {
  *state += kWordStep;
  return mix(*state);
}

static size_t random_below(uint64_t* state, size_t limit) {
  return (size_t)(next_random(state) % limit);
}

static uint64_t nonzero_seed(uint64_t* state) { return next_random(state) | 1; }

static void die(const char* what) {
  fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void* map_pages(size_t pages) {
  void* memory =
      mmap(NULL, pages * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  return memory;
}

// A pattern is an arithmetic progression that starts at its seed; seed 0 stands for all zeros.
static void fill_words(uint64_t* words, size_t count, uint64_t seed) {
  const uint64_t step = seed == 0 ? 0 : kWordStep;
  uint64_t expected = seed;
  for (size_t i = 0; i < count; i++, expected += step) words[i] = expected;
}

static void check_words(const uint64_t* words, size_t count, uint64_t seed, struct Report* report) {
  const uint64_t step = seed == 0 ? 0 : kWordStep;
  uint64_t expected = seed;
  uint64_t sum = 0;
  uint64_t difference = 0;
  for (size_t i = 0; i < count; i++, expected += step) {
    sum += words[i];
    difference |= words[i] ^ expected;
  }
  if (difference != 0) report->bad++;
  report->hash = mix(report->hash ^ sum);
}

// --- pattern ---

static uint64_t pattern_random = 1;
static uint64_t* pattern_memory;
static uint64_t pattern_seeds[kPatternPages];

static void pattern_tick(struct Report* report) {
  if (pattern_memory == NULL) pattern_memory = map_pages(kPatternPages);
  for (int i = 0; i < kPatternWritesPerTick + kPatternClearsPerTick; i++) {
    const size_t page = random_below(&pattern_random, kPatternPages);
    pattern_seeds[page] = i < kPatternWritesPerTick ? nonzero_seed(&pattern_random) : 0;
    fill_words(pattern_memory + page * kPageWords, kPageWords, pattern_seeds[page]);
  }
  for (size_t page = 0; page < kPatternPages; page++) {
    check_words(pattern_memory + page * kPageWords, kPageWords, pattern_seeds[page], report);
  }
}

// --- churn ---

struct Area {
  uint64_t* memory;  // NULL while not mapped
  uint64_t seeds[kAreaPages];
};

static uint64_t churn_random = 2;
static struct Area churn_areas[kChurnAreas];

static void churn_fill(struct Area* area) {
  for (int i = 0; i < kChurnPagesPerAction; i++) {
    const size_t page = random_below(&churn_random, kAreaPages);
    area->seeds[page] = nonzero_seed(&churn_random);
    fill_words(area->memory + page * kPageWords, kPageWords, area->seeds[page]);
  }
}

static void churn_clear(struct Area* area) {
  for (int i = 0; i < kChurnPagesPerAction; i++) {
    const size_t page = random_below(&churn_random, kAreaPages);
    area->seeds[page] = 0;
    memset(area->memory + page * kPageWords, 0, kPageBytes);
  }
}

// Gives pages back to the guest's kernel; the next read finds zeros.
static void churn_drop(struct Area* area) {
  const size_t first = random_below(&churn_random, kAreaPages - kChurnPagesPerAction);
  const size_t bytes = (size_t)kChurnPagesPerAction * kPageBytes;
  if (madvise(area->memory + first * kPageWords, bytes, MADV_DONTNEED) != 0) die("madvise");
  memset(&area->seeds[first], 0, kChurnPagesPerAction * sizeof(area->seeds[0]));
}

static void churn_unmap(struct Area* area) {
  if (munmap(area->memory, (size_t)kAreaPages * kPageBytes) != 0) die("munmap");
  memset(area, 0, sizeof(*area));
}

static void churn_tick(struct Report* report) {
  for (int i = 0; i < kChurnActionsPerTick; i++) {
    struct Area* area = &churn_areas[random_below(&churn_random, kChurnAreas)];
    const size_t action = random_below(&churn_random, 8);
    if (area->memory == NULL) {
      area->memory = map_pages(kAreaPages);
      churn_fill(area);
    } else if (action < 3) {
      churn_fill(area);
    } else if (action < 6) {
      churn_clear(area);
    } else if (action < 7) {
      churn_drop(area);
    } else {
      churn_unmap(area);
    }
  }
  for (size_t i = 0; i < kChurnAreas; i++) {
    const struct Area* area = &churn_areas[i];
    if (area->memory == NULL) continue;
    for (size_t page = 0; page < kAreaPages; page++) {
      check_words(area->memory + page * kPageWords, kPageWords, area->seeds[page], report);
    }
  }
}

// --- ring ---

struct Node {
  struct Node* next;
  struct Node* previous;
  uint64_t seed;
  size_t count;
  uint64_t words[];
};

static uint64_t ring_random = 3;
static struct Node* ring_cursor;
static size_t ring_size;

static void ring_insert(void) {
  const size_t count = 1 + random_below(&ring_random, kRingMaxWords);
  struct Node* node = malloc(sizeof(*node) + count * sizeof(node->words[0]));
  if (node == NULL) die("malloc");
  node->seed = nonzero_seed(&ring_random);
  node->count = count;
  fill_words(node->words, count, node->seed);
  if (ring_cursor == NULL) {
    node->next = node->previous = node;
  } else {
    node->previous = ring_cursor;
    node->next = ring_cursor->next;
    node->next->previous = node;
    ring_cursor->next = node;
  }
  ring_cursor = node;
  ring_size++;
}

// REQUIRES: two nodes or more.
static void ring_remove(void) {
  struct Node* node = ring_cursor;
  node->previous->next = node->next;
  node->next->previous = node->previous;
  ring_cursor = node->next;
  // A freed node that still holds its pattern would look right through a dangling pointer.
  memset(node, 0, sizeof(*node) + node->count * sizeof(node->words[0]));
  free(node);
  ring_size--;
}

static void ring_tick(struct Report* report) {
  while (ring_size < kRingNodes) ring_insert();
  for (int i = 0; i < kRingChangesPerTick; i++) {
    for (size_t steps = random_below(&ring_random, 64); steps > 0; steps--) {
      ring_cursor = ring_cursor->next;
    }
    if (next_random(&ring_random) % 2 == 0) {
      ring_insert();
    } else {
      ring_remove();
    }
  }
  const struct Node* node = ring_cursor;
  for (size_t i = 0; i < ring_size; i++, node = node->next) {
    if (node->next->previous != node) report->bad++;
    check_words(node->words, node->count, node->seed, report);
  }
  if (node != ring_cursor) report->bad++;
}

// --- the parent ---

struct Worker {
  const char* name;
  void (*tick)(struct Report*);
  int requests;  // the parent writes a tick's number
  int reports;   // the parent reads a Report
};

// Both return 0 at the end of the stream and 1 otherwise. Messages are far below PIPE_BUF, so they
// arrive whole.
static int read_message(int fd, void* message, size_t bytes) {
  ssize_t got;
  do {
    got = read(fd, message, bytes);
  } while (got < 0 && errno == EINTR);
  return got == (ssize_t)bytes;
}

static int write_message(int fd, const void* message, size_t bytes) {
  ssize_t put;
  do {
    put = write(fd, message, bytes);
  } while (put < 0 && errno == EINTR);
  return put == (ssize_t)bytes;
}

static void start_worker(struct Worker* worker) {
  int requests[2];
  int reports[2];
  if (pipe(requests) != 0 || pipe(reports) != 0) die("pipe");
  const pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    close(requests[1]);
    close(reports[0]);
    uint64_t tick;
    struct Report report = {0, 0};
    while (read_message(requests[0], &tick, sizeof(tick))) {
      report.hash ^= tick;
      report.bad = 0;
      worker->tick(&report);
      if (!write_message(reports[1], &report, sizeof(report))) break;
    }
    _exit(0);
  }
  close(requests[0]);
  close(reports[1]);
  worker->requests = requests[1];
  worker->reports = reports[0];
}

static void sleep_ms(long milliseconds) {
  struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

int main(int argc, char** argv) {
  uint64_t last_tick = UINT64_MAX;
  long pause_ms = kGuestTickPauseMs;
  if (argc == 3 && strcmp(argv[1], "--ticks") == 0) {
    last_tick = strtoull(argv[2], NULL, 10);
    pause_ms = 0;
  } else if (argc != 1) {
    fprintf(stderr, "usage: workload [--ticks N]\n");
    return 2;
  }

  struct Worker workers[kWorkers] = {{"pattern", pattern_tick, -1, -1},
                                     {"churn", churn_tick, -1, -1},
                                     {"ring", ring_tick, -1, -1}};
  for (int i = 0; i < kWorkers; i++) start_worker(&workers[i]);

  uint64_t hash = 0;
  for (uint64_t tick = 1; tick <= last_tick; tick++) {
    uint64_t bad = 0;
    for (int i = 0; i < kWorkers; i++) {
      if (!write_message(workers[i].requests, &tick, sizeof(tick))) die(workers[i].name);
    }
    for (int i = 0; i < kWorkers; i++) {
      struct Report report;
      if (!read_message(workers[i].reports, &report, sizeof(report))) {
        printf("WORKER %s DIED in tick %" PRIu64 "\n", workers[i].name, tick);
        return 1;
      }
      hash = mix(hash ^ report.hash);
      bad += report.bad;
    }
    printf("TICK %" PRIu64 " hash=%016" PRIx64 " bad=%" PRIu64 "\n", tick, hash, bad);
    fflush(stdout);
    if (pause_ms > 0) sleep_ms(pause_ms);
  }
  return 0;
}
