"""What is read from a module's text, over one written by hand."""

from quarkaudio_jax.compile_report.hlo import Array, Cost, summarize

MODULE = """HloModule jit_step, is_scheduled=true

%gather_start (p.1: bf16[8,16]) -> bf16[64,16] {
  %p.1 = bf16[8,16]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %all-gather.1 = bf16[64,16]{1,0:T(8,128)(2,1)} all-gather(%p.1), channel_id=7, dimensions={0}
}

%gather_done (p.2: bf16[8,16]) -> bf16[64,16] {
  %p.2 = bf16[8,16]{1,0} parameter(0)
  ROOT %all-gather.2 = bf16[64,16]{1,0} all-gather(%p.2), channel_id=7, dimensions={0}
}

%body (arg: (s32[], f32[4,4])) -> (s32[], f32[4,4]) {
  %arg = (s32[]{:T(128)}, f32[4,4]{1,0:T(8,128)}) parameter(0)
  %square = f32[4,4]{1,0:T(8,128)} fusion(%arg), kind=kLoop, calls=%fused, metadata={op_name="jit(step)/square"}, \
backend_config={"estimated_cycles":"100"}
  %sum = f32[4,4]{1,0} all-reduce(%square), channel_id=9, to_apply=%add
  ROOT %tuple.1 = (s32[], f32[4,4]{1,0}) tuple(%square)
}

%condition (arg.1: (s32[], f32[4,4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(12)
  %arg.1 = (s32[], f32[4,4]{1,0}) parameter(0)
  ROOT %less = pred[]{:T(512)} compare(%arg.1, %limit), direction=LT
}

%fused (x: f32[4,4]) -> f32[4,4] {
  %x = f32[4,4]{1,0} parameter(0)
  ROOT %inner = f32[4,4]{1,0} multiply(%x, %x), backend_config={"estimated_cycles":"99999"}
}

ENTRY %main (w: bf16[8,16]) -> f32[4,4] {
  %w = bf16[8,16]{1,0} parameter(0)
  %start = bf16[64,16]{1,0} fusion(%w), kind=kCustom, calls=%gather_start, backend_config={"estimated_cycles":"10"}
  %done = bf16[64,16]{1,0} fusion(%w), kind=kCustom, calls=%gather_done
  %init = (s32[], f32[4,4]{1,0}) tuple(%w)
  %loop = (s32[]{:T(128)}, /*index=1*/f32[4,4]{1,0:T(8,128)}) while(%init), condition=%condition, body=%body
  ROOT %out = f32[4,4]{1,0} copy(%loop), metadata={op_name="jit(step)/out"}
}
"""


def test_loops_count_as_often_as_they_run():
    assert summarize(MODULE).cycles == 10 + 12 * 100


def test_a_loop_whose_length_the_compiler_notes():
    noted = MODULE.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"5"}}')
    assert summarize(noted).cycles == 10 + 5 * 100


def test_branches_of_a_conditional_all_count():
    line = "  %pick = f32[4,4]{1,0} conditional(%w), branch_computations={%body, %fused}\n"
    assert summarize(MODULE.replace("  ROOT %out", line + "  ROOT %out")).cycles == 10 + 12 * 100 + 100 + 99999


def test_a_transfer_spelt_out_twice_counts_once():
    assert summarize(MODULE).collectives == {
        "all-gather": (1, 64 * 16 * 2),
        "all-reduce": (12, 12 * 4 * 4 * 4),
    }


def test_the_largest_arrays_come_first_with_what_made_them():
    found = summarize(MODULE, largest=3).largest
    assert found[0] == Array(2048, "bf16[64,16]", "")
    assert set(found[1:]) <= {Array(64, "f32[4,4]", source) for source in ("", "jit(step)/square", "jit(step)/out")}


def test_the_costliest_parts_come_first_with_their_loops():
    module = MODULE.replace("jit(step)/square", "jit(step)/jvp(layer_3)/while/body/square")
    assert summarize(module).costliest == [Cost(1200, 1, "jvp(layer_*)/square"), Cost(10, 1, "")]
    assert summarize(module, largest=1).costliest == [Cost(1200, 1, "jvp(layer_*)/square")]
