// An address as one vector of all lanes.
//
// llvmpipe makes of a load or store a loop over its lanes, into which it moves the sums and products that the address
// comes from: dozens of scalar instructions for each lane. It cannot move a shuffle, so that behind one the loop
// takes a finished address. To be called where all lanes are. Hardware has WHOLE = 0.

fn whole(address: u32, lane: u32) -> u32 {
    if (WHOLE == 0u) {
        return address;
    }
    return subgroupShuffle(address, lane);
}
