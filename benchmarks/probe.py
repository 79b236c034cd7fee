"""Two kernels that measure and test a driver rather than Cutline: PTX, which drivers compile themselves.

probe_add    adds `value` to each of `count` uint32 at `address`; any grid
probe_spin   every thread works for `rounds` rounds of two dependent multiply-adds and writes nothing: a known cost

Both take one struct: {uint64 address; uint32 count or rounds; uint32 value}.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["ADD", "PROBE", "SPIN", "probe_params"]

ADD: Final = "probe_add"
SPIN: Final = "probe_spin"


def probe_params(address: int, count: int, value: int = 0) -> bytes:
    """The struct that both kernels take."""
    return struct.pack("=QII", address, count, value)


PROBE: Final = rb"""
.version 6.4
.target sm_75
.address_size 64

.visible .entry probe_add(.param .align 8 .b8 given[16])
{
    .reg .pred %p<3>;
    .reg .b32 %r<12>;
    .reg .b64 %d<5>;
    ld.param.u64 %d1, [given];
    ld.param.u32 %r1, [given+8];
    ld.param.u32 %r2, [given+12];
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %ctaid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.u32 %r6, %r4, %r3, %r5;
    mov.u32 %r7, %nctaid.x;
    mul.lo.u32 %r8, %r7, %r3;
    cvta.to.global.u64 %d2, %d1;
ADD_NEXT:
    setp.ge.u32 %p1, %r6, %r1;
    @%p1 bra ADD_DONE;
    mul.wide.u32 %d3, %r6, 4;
    add.u64 %d4, %d2, %d3;
    ld.global.u32 %r9, [%d4];
    add.u32 %r10, %r9, %r2;
    st.global.u32 [%d4], %r10;
    add.u32 %r6, %r6, %r8;
    bra ADD_NEXT;
ADD_DONE:
    ret;
}

.visible .entry probe_spin(.param .align 8 .b8 given[16])
{
    .reg .pred %p<3>;
    .reg .b32 %r<4>;
    .reg .f32 %f<3>;
    .reg .b64 %d<3>;
    ld.param.u64 %d1, [given];
    ld.param.u32 %r1, [given+8];
    mov.u32 %r2, %tid.x;
    cvt.rn.f32.u32 %f1, %r2;
    mov.f32 %f2, 0f3F800000;
SPIN_NEXT:
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra SPIN_DONE;
    fma.rn.f32 %f1, %f1, 0f3F7FBE77, 0f3A83126F;
    fma.rn.f32 %f2, %f2, 0f3F7F7CEE, %f1;
    add.u32 %r1, %r1, -1;
    bra SPIN_NEXT;
SPIN_DONE:
    // the sum never gets there, which the compiler cannot know
    setp.neu.f32 %p2, %f2, 0f47F12000;
    @%p2 bra SPIN_LEAVE;
    cvta.to.global.u64 %d2, %d1;
    st.global.f32 [%d2], %f2;
SPIN_LEAVE:
    ret;
}
"""
