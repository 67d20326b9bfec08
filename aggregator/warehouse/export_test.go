package warehouse

// CodesOfTrouble is for tests.
var CodesOfTrouble = codesOfTrouble
