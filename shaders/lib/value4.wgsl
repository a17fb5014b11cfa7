// What copy_rows moves: four values at once, where all sizes are multiples of four. The alternative is lib/value1.

alias Value = vec4u;
