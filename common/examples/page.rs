fn main() {
    print!("{}", common::mapping::page::types())
}
