#include "remote/counting_store.h"

#include <string>
#include <utility>

#include "lamina/words.h"

namespace lamina::remote {
namespace {

using object_store::Answer;
using object_store::ObjectStore;

class CountingStore final : public ObjectStore {
 public:
  CountingStore(std::unique_ptr<ObjectStore> store, CountedLayer layer, RemoteRequests& counts)
      : store_(std::move(store)), layer_(layer), counts_(counts) {}

  RequestId start(object_store::Request request, Completion completion) override {
    return store_->start(std::move(request),
                         [this, completion = std::move(completion)](Answer answer) {
                           count(answer.outcome);
                           completion(std::move(answer));
                         });
  }
  void cancel(RequestId id) override { store_->cancel(id); }
  [[nodiscard]] int poll_fd() const override { return store_->poll_fd(); }
  Status advance(std::chrono::milliseconds timeout) override { return store_->advance(timeout); }
  [[nodiscard]] std::size_t pending() const override { return store_->pending(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return store_->name_of(key);
  }

 private:
  void count(object_store::Outcome outcome) {
    if (layer_ == CountedLayer::kRequests) {
      // An answer that the layer between gives by itself has no attempt.
      if (counts_.repeated > 0) --counts_.repeated;
      return;
    }
    ++counts_.by_outcome[std::string(word_of(outcome))];
    ++counts_.repeated;
  }

  std::unique_ptr<ObjectStore> store_;
  CountedLayer layer_;
  RemoteRequests& counts_;
};

}  // namespace

std::unique_ptr<ObjectStore> make_counting_store(std::unique_ptr<ObjectStore> store,
                                                 CountedLayer layer, RemoteRequests& counts) {
  return std::make_unique<CountingStore>(std::move(store), layer, counts);
}

}  // namespace lamina::remote
