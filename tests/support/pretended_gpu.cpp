// Device guards and hooks for a CUDA or MPS device that computes nothing: PyTorch then lets fake tensors live on it.
// The environment variable TEXTMILL_PRETENDED_GPU says which of the two exists in this process.
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/detail/MPSHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>
#include <cstring>

namespace {

bool exists(const char* kind) {
  const char* asked = std::getenv("TEXTMILL_PRETENDED_GPU");
  return asked != nullptr && std::strcmp(asked, kind) == 0;
}

// One device, number 0, with one stream, on which all work is always done.
template <c10::DeviceType Kind>
class OneDevice final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return Kind; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Device getDevice() const override { return {Kind, 0}; }
  c10::Device exchangeDevice(c10::Device) const override { return {Kind, 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return stream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
  c10::Stream getNewStream(c10::Device, int = 0) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const override { return stream(); }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}

 private:
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, c10::Device(Kind, 0)); }
};

using OneCudaDevice = OneDevice<c10::DeviceType::CUDA>;
using OneMpsDevice = OneDevice<c10::DeviceType::MPS>;
C10_REGISTER_GUARD_IMPL(CUDA, OneCudaDevice)
C10_REGISTER_GUARD_IMPL(MPS, OneMpsDevice)

}  // namespace

// PyTorch looks for the hooks by these two names.
namespace at {

class CUDAHooks final : public CUDAHooksInterface {
 public:
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return exists("cuda"); }
  bool isBuilt() const override { return exists("cuda"); }
  bool isAvailable() const override { return exists("cuda"); }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  DeviceIndex getCurrentDevice() const override { return 0; }
};
REGISTER_CUDA_HOOKS(CUDAHooks)

class MPSHooks final : public MPSHooksInterface {
 public:
  MPSHooks() = default;
  explicit MPSHooks(MPSHooksArgs) {}
  void init() const override {}
  bool hasMPS() const override { return exists("mps"); }
  bool isBuilt() const override { return exists("mps"); }
  bool isAvailable() const override { return exists("mps"); }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  DeviceIndex getCurrentDevice() const override { return 0; }
};
REGISTER_MPS_HOOKS(MPSHooks)

}  // namespace at
