// An object store as the object tier sees it: keys, requests, and requests that are late.
//
// A request takes effect at once and completely, or not at all. What real stores add to that is
// modelled by the actors' side (successors.h): the answer is lost, the request takes effect at any
// later moment, or never.
//
//   PUT           replaces what is there
//   PUT, absent   (If-None-Match: *) takes effect only if the key does not exist
//   GET, HEAD     one key
//   DELETE        succeeds also if the key does not exist
//   LIST          in pages of one key: the first key after a given one. A key that exists from
//                 before the first page until after the last one is seen. A key that is made or
//                 deleted meanwhile is seen or not. That is all that S3 promises.
//
// The contents of a key never change in the protocol, so reading a key's name in a list and its
// contents by a GET is one step here: a GET that finds nothing says the same as a page that comes
// later.
//
// Keys are small numbers:
//
//   objects       0 is a layer that is there at the start and that pushes want to reuse. Each push
//                 has three names of its own (object_name()).
//   records       one per name and number (1 to 7): a manifest, a void, or a removal
//   pins          one per push, and one of the puller
//   tombstones    one per collector's cycle, on one object
#pragma once

#include <compare>
#include <cstdint>

namespace lamina::object_tier_model {

/// An unsigned number of 8 bits that ints are assigned to.
class Small {
 public:
  constexpr Small() = default;
  constexpr Small(int value) : value_(static_cast<std::uint8_t>(value)) {}  // NOLINT
  constexpr operator int() const { return value_; }                         // NOLINT

 private:
  std::uint8_t value_ = 0;
};

inline constexpr int kPushers = 2;
inline constexpr int kAttempts = 2;  ///< of one pusher: pushes, or one push and its second attempt
inline constexpr int kPushes = kPushers * kAttempts;
inline constexpr int kNamesPerPush = 3;
inline constexpr int kObjects = 1 + kPushes * kNamesPerPush;
inline constexpr int kNoObject = 15;
inline constexpr int kNames = 2;  ///< of snapshots
inline constexpr int kHighestNumber = 7;
inline constexpr int kTombstones = 4;
inline constexpr int kPullersPin = kPushes;
inline constexpr int kPins = kPushes + 1;
inline constexpr int kLateRequests = 4;

/// What is at a name and number. Manifests of pushes are kFirstManifest + push.
enum Record : int {
  kAbsent = 0,
  kInitialManifest = 1,
  kFirstManifest = 2,
  kVoid = kFirstManifest + kPushes,
  kRemoval,
};

constexpr bool is_manifest(int record) { return record >= kInitialManifest && record < kVoid; }

/// Whether it says what the newest state is: a void does not.
constexpr bool is_state(int record) { return is_manifest(record) || record == kRemoval; }

/// The n-th name that a push makes for an object: they contain the push's id, so its pin covers
/// them before they exist.
constexpr int object_name(int push, int n) { return 1 + push * kNamesPerPush + n; }

enum class Verb : std::uint8_t {
  kNone,
  kPutObject,        // first: object
  kPutPin,           // first: pin
  kPutTombstone,     // first: tombstone; second: object
  kPutRecord,        // first: name; second: number; third: record. If absent
  kReplaceRecord,    // the same, unconditional: only mutations send it
  kDeleteObject,     // first: object
  kDeletePin,        // first: pin
  kDeleteTombstone,  // first: tombstone; second: object
  kDeleteRecord,     // first: name; second: number; third: the record that the sender saw there
};

/// A request that changes something; 0: none.
class Request {
 public:
  constexpr Request() = default;
  constexpr Request(Verb verb, int first, int second = 0, int third = 0)
      : bits_(static_cast<std::uint16_t>((static_cast<int>(verb) << 12) | (first << 8) |
                                         (second << 4) | third)) {}

  [[nodiscard]] constexpr Verb verb() const { return static_cast<Verb>(bits_ >> 12); }
  [[nodiscard]] constexpr int first() const { return (bits_ >> 8) & 15; }
  [[nodiscard]] constexpr int second() const { return (bits_ >> 4) & 15; }
  [[nodiscard]] constexpr int third() const { return bits_ & 15; }
  friend constexpr bool operator==(Request, Request) = default;
  friend constexpr auto operator<=>(Request, Request) = default;

 private:
  std::uint16_t bits_ = 0;
};

/// A set of small numbers.
class Set {
 public:
  [[nodiscard]] constexpr bool has(int member) const { return ((bits_ >> member) & 1) != 0; }
  constexpr void add(int member) { bits_ = static_cast<std::uint16_t>(bits_ | (1 << member)); }
  constexpr void drop(int member) { bits_ = static_cast<std::uint16_t>(bits_ & ~(1 << member)); }
  constexpr void add(Set other) { bits_ = static_cast<std::uint16_t>(bits_ | other.bits_); }
  [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }
  [[nodiscard]] constexpr bool within(Set other) const { return (bits_ & ~other.bits_) == 0; }
  friend constexpr bool operator==(Set, Set) = default;

 private:
  std::uint16_t bits_ = 0;
};

struct Bucket {
  Set objects;
  Set pins;
  Small tombstones[kTombstones];       ///< object + 1; 0: none
  std::uint32_t records[kNames] = {};  ///< four bits per number

  [[nodiscard]] int record(int name, int number) const {
    return static_cast<int>((records[name] >> (4 * number)) & 15U);
  }

  void set_record(int name, int number, int record) {
    const int shift = 4 * number;
    records[name] =
        (records[name] & ~(15U << shift)) | (static_cast<std::uint32_t>(record) << shift);
  }

  [[nodiscard]] bool has_records_of(const Bucket& other, int name) const {
    return records[name] == other.records[name];
  }

  /// LIST of a name's records, one page: the first number after `number`; 0: there is none.
  [[nodiscard]] int next_record(int name, int number) const {
    for (int next = number + 1; next <= kHighestNumber; ++next) {
      if (record(name, next) != kAbsent) return next;
    }
    return 0;
  }

  /// LIST of the pins, one page: the first one from `pin` on; kPins: there is none.
  [[nodiscard]] int next_pin(int pin) const {
    while (pin < kPins && !pins.has(pin)) ++pin;
    return pin;
  }

  /// LIST of an object's tombstones, one page.
  [[nodiscard]] bool has_tombstone(int object) const {
    for (const Small tombstone : tombstones) {
      if (tombstone == object + 1) return true;
    }
    return false;
  }

  /// The number of the newest manifest or removal of a name; 0: there is none.
  [[nodiscard]] int newest_state(int name) const {
    int number = kHighestNumber;
    while (number > 0 && !is_state(record(name, number))) --number;
    return number;
  }

  /// Lets the request take effect. False: the key exists, and the request asked for its absence.
  bool apply(Request request) {
    switch (request.verb()) {
      case Verb::kNone:
        break;
      case Verb::kPutObject:
        objects.add(request.first());
        break;
      case Verb::kPutPin:
        pins.add(request.first());
        break;
      case Verb::kPutTombstone:
        tombstones[request.first()] = request.second() + 1;
        break;
      case Verb::kPutRecord:
        if (record(request.first(), request.second()) != kAbsent) return false;
        [[fallthrough]];
      case Verb::kReplaceRecord:
        set_record(request.first(), request.second(), request.third());
        break;
      case Verb::kDeleteObject:
        objects.drop(request.first());
        break;
      case Verb::kDeletePin:
        pins.drop(request.first());
        break;
      case Verb::kDeleteTombstone:
        if (tombstones[request.first()] == request.second() + 1) tombstones[request.first()] = 0;
        break;
      case Verb::kDeleteRecord:
        set_record(request.first(), request.second(), kAbsent);
        break;
    }
    return true;
  }
};

/// The requests that were sent, whose senders got no answer, and that have not taken effect yet.
class LateRequests {
 public:
  [[nodiscard]] bool full() const { return requests_[kLateRequests - 1] != Request(); }
  [[nodiscard]] Request at(int index) const { return requests_[index]; }

  /// Needs !full(). They are sorted, because their order says nothing.
  void add(Request request) {
    int index = kLateRequests - 1;
    while (index > 0 && requests_[index - 1] == Request()) --index;
    while (index > 0 && requests_[index - 1] > request) {
      requests_[index] = requests_[index - 1];
      --index;
    }
    requests_[index] = request;
  }

  void remove(int index) {
    for (; index + 1 < kLateRequests; ++index) requests_[index] = requests_[index + 1];
    requests_[kLateRequests - 1] = Request();
  }

 private:
  Request requests_[kLateRequests];
};

}  // namespace lamina::object_tier_model
