// What copy_rows moves: one value. The alternative is lib/value4.

alias Value = u32;
