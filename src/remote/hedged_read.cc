#include "remote/hedged_read.h"

#include <utility>

namespace lamina::remote {

using object_store::Answer;
using object_store::ObjectStore;
using object_store::Request;

HedgedRead::HedgedRead(ObjectStore& store, Request request, std::size_t size, LateRequests& counts,
                       Done done)
    : store_(store),
      request_(std::move(request)),
      size_(size),
      counts_(counts),
      done_(std::move(done)),
      bytes_(size) {
  Request first = request_;
  first.buffer = bytes_;
  first_ = store_.start(std::move(first), [this](const Answer& answer) { take_first(answer); });
}

HedgedRead::~HedgedRead() {
  if (first_) store_.cancel(*first_);
  give_up_second();
}

void HedgedRead::send_again() {
  second_bytes_.resize(size_);
  Request again = request_;
  again.buffer = second_bytes_;
  again.is_urgent = true;
  ++counts_.sent;
  second_ = store_.start(std::move(again), [this](const Answer& answer) { take_second(answer); });
}

void HedgedRead::take_first(const Answer& answer) {
  first_.reset();
  give_up_second();
  end(answer);
}

void HedgedRead::take_second(const Answer& answer) {
  second_.reset();
  if (!answer.ok()) {
    ++counts_.given_up;
    return;
  }
  ++counts_.won;
  if (first_) store_.cancel(*std::exchange(first_, std::nullopt));
  bytes_.swap(second_bytes_);
  end(answer);
}

void HedgedRead::give_up_second() {
  if (!second_) return;
  store_.cancel(*std::exchange(second_, std::nullopt));
  ++counts_.given_up;
}

void HedgedRead::end(const Answer& answer) {
  // It may destroy this.
  const Done done = std::move(done_);
  done(answer);
}

}  // namespace lamina::remote
