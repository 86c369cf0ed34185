/** The groups as sessions know them; HTTP routes know the same. */
export type * from '../groups/groups-face.js'
