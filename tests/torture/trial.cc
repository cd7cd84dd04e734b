#include "trial.h"

#include <stdexcept>

namespace lamina::torture {
namespace {

void expect(const Answer& answer, const Scene& scene, const char* what) {
  if (answer.ok) return;
  throw std::runtime_error(std::string(scene.name) + ": " + what + ": " + answer.text);
}

}  // namespace

Trial::Trial(const Scene& scene, const TrialOptions& options)
    : worker_(scene, options.mount, options.outside, options.fake_firecracker),
      mount_(options.mount),
      scene_(scene) {
  mount_.serve();
  expect(worker_.call(Task::kSetUp), scene_, "cannot be set up");
  base_ = mount_.disk();
}

History Trial::record() {
  mount_.show(base_);
  mount_.start_recording();
  expect(worker_.call(Task::kOperate), scene_, "fails without a fault");
  History history = mount_.stop_recording();
  expect(worker_.call(Task::kLearn), scene_, "has not made what it should");
  expect(worker_.call(Task::kPowerOff), scene_, "cannot be powered off");
  return history;
}

}  // namespace lamina::torture
